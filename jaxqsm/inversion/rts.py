"""Rapid two-step inversion."""

from __future__ import annotations

from functools import partial

import jax
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.inversion.tv import tv
from jaxqsm.tuning import weight_from_data
from jaxqsm.tuning.choose_weight import in_proportion
from jaxqsm.variational.admm import k_space_completion
from jaxqsm.variational.problem import inversion_problem


@partial(jax.jit, static_argnames=("start_iterations", "max_iterations"))
@weight_from_data(5.4e-3, follow=in_proportion(tv, 18.0))
def rts(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    start: Float[Array, "x y z"] | None = None,
    threshold: float = 0.15,
    weight: float,
    start_iterations: int = 20,
    tolerance: float = 2e-2,
    max_iterations: int = 100,
) -> Float[Array, "x y z"]:
    """Complete ill-conditioned k-space by total variation, after LSQR (rapid two-step).

    Use it where speed matters more than noise.

    A few steps of least squares recover what lies far from the magic cone. That part of k-space is kept; the
    rest follows from the least total variation.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        start: χ in ppm to begin from, such as that of another weight. Default: none.
        threshold: of the kernel's magnitude above which k-space is kept. Default 0.15, as published.
        weight: in ppm · mm, of total variation against what is kept. Default: chosen from the data
            (:func:`~jaxqsm.tuning.choose_weight`).
        start_iterations: conjugate-gradient steps of the first step. Default 20; the published 4 leave
            χ too weak.
        tolerance: relative change of the iterate at which to stop. Default 2e-2.
        max_iterations: bound on the iterations. Default 100.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Two real FFTs an iteration. Exact gradients.

    References:
        Kames, Wiggermann & Rauscher 2018, NeuroImage 167:276, doi:10.1016/j.neuroimage.2017.11.018.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = rts(jnp.zeros(mask.shape), mask, Geometry(), start_iterations=2, max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    given = inversion_problem(local_field, mask, geometry, weights, magnitude)
    chi = k_space_completion(
        given,
        start_iterations=start_iterations,
        threshold=threshold,
        weight=weight,
        start=start,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    return given.to_scan_grid(chi)
