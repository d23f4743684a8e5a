"""Homogeneity enabled incremental dipole inversion."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.inversion.tv import tv
from jaxqsm.operators import laplacian
from jaxqsm.tuning import weight_from_data
from jaxqsm.tuning.choose_weight import in_proportion
from jaxqsm.variational.admm import k_space_completion
from jaxqsm.variational.edges import differences_without_edges, masked_shrink
from jaxqsm.variational.problem import inversion_problem


@partial(jax.jit, static_argnames=("start_iterations", "max_iterations"))
@weight_from_data(1.35e-2, follow=in_proportion(tv, 45.0))
def heidi(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    start: Float[Array, "x y z"] | None = None,
    threshold: float = 0.15,
    edges: float = 0.3,
    weight: float,
    start_iterations: int = 20,
    tolerance: float = 2e-2,
    max_iterations: int = 100,
) -> Float[Array, "x y z"]:
    """Complete ill-conditioned k-space by edge-weighted total variation (HEIDI).

    Use it to compare with its publications.

    Edges are where the magnitude, the field or its Laplacian change most.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit, whose steepest differences are not penalised; weighs the data too
            where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        start: χ in ppm to begin from, such as that of another weight. Default: none.
        threshold: of the kernel's magnitude above which k-space is kept. Default 0.15.
        edges: part of all differences of each image that count as edges. Default 0.3.
        weight: in ppm · mm, of the penalty on other differences against what is kept. Default: chosen from
            the data (:func:`~jaxqsm.tuning.choose_weight`).
        start_iterations: conjugate-gradient steps of the least squares. Default 20.
        tolerance: relative change of the iterate at which to stop. Default 2e-2.
        max_iterations: bound on the iterations. Default 100.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Two real FFTs an iteration. The choice of
        edges has no derivative.

    References:
        Schweser et al. 2012, NeuroImage 62:2083, doi:10.1016/j.neuroimage.2012.05.067. The published method
        fills k-space in three steps by the size of the kernel; here the second one is least squares too.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = heidi(jnp.zeros(mask.shape), mask, Geometry(), start_iterations=2, max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    given = inversion_problem(local_field, mask, geometry, weights, magnitude)
    field = local_field * mask
    guides = [field, laplacian(field, geometry)] + ([] if magnitude is None else [magnitude])
    found = [differences_without_edges(jax.lax.stop_gradient(g), mask, geometry, edges=edges) for g in guides]
    x, y, z = (jnp.stack(directions).all(axis=0) for directions in zip(*found, strict=True))
    chi = k_space_completion(
        given,
        start_iterations=start_iterations,
        threshold=threshold,
        weight=weight,
        start=start,
        shrink=masked_shrink((x, y, z), given.shape),
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    return given.to_scan_grid(chi)
