"""Inversion with total generalised variation of second order."""

from __future__ import annotations

from functools import partial

import jax
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.tuning import weight_from_data
from jaxqsm.variational.admm import FIELD_RHO, tgv_admm
from jaxqsm.variational.data_terms import linear
from jaxqsm.variational.problem import inversion_problem


@partial(jax.jit, static_argnames="max_iterations")
@weight_from_data(2e-4)
def tgv(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    start: Float[Array, "x y z"] | None = None,
    weight: float,
    ratio: float = 4.0,
    tolerance: float = 1e-2,
    max_iterations: int = 200,
) -> Float[Array, "x y z"]:
    """Minimise ½ |W (Dχ − field)|² + weight Σ (|∇χ − w| + ratio |ℰw|) over χ and w.

    Use it where χ has slopes, which tv turns into steps.

    Where total variation makes plateaus, this allows slopes: w follows a slowly varying gradient of χ.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        start: χ in ppm to begin from, such as that of another weight. Default: none.
        weight: in ppm · mm, of the first penalty. Default: chosen from the data
            (:func:`~jaxqsm.tuning.choose_weight`).
        ratio: mm; weight of the second penalty over the first. Default 4; published with 2 for 1 mm voxels.
        tolerance: relative change of the iterate at which to stop. Default 1e-2.
        max_iterations: bound on the iterations. Default 200.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Ten real FFTs an iteration; exact gradients.

    References:
        Langkammer et al. 2015, NeuroImage 111:622, doi:10.1016/j.neuroimage.2015.02.041;
        Milovic et al. 2018, MRM 80:814, doi:10.1002/mrm.27073 (splitting, closed-form steps).

    Example:
        >>> import jax.numpy as jnp
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = tgv(jnp.zeros(mask.shape), mask, Geometry(), max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    given = inversion_problem(local_field, mask, geometry, weights, magnitude)
    chi = tgv_admm(
        given,
        linear(given.field, given.weights, rho=FIELD_RHO),
        weight=weight,
        start=start,
        ratio=ratio,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    return given.to_scan_grid(chi)
