"""Streaking artefact reduction by two levels of regularisation."""

from __future__ import annotations

from functools import partial

import jax
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import pad
from jaxqsm.physics import dipole_convolve
from jaxqsm.tuning import weight_from_data
from jaxqsm.variational.admm import total_variation_admm
from jaxqsm.variational.data_terms import linear
from jaxqsm.variational.problem import inversion_problem


@partial(jax.jit, static_argnames="max_iterations")
@weight_from_data(3e-4)
def star(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    start: Float[Array, "x y z"] | None = None,
    strong_weight: float = 3e-3,
    weight: float,
    tolerance: float = 2e-2,
    max_iterations: int = 200,
) -> Float[Array, "x y z"]:
    """Invert strong sources with a heavy total-variation weight, their residual with a light one.

    Use it where a bleed and normal tissue are in one map.

    A bleed and the tissue around it differ by two orders of magnitude, and no one weight suits both.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        start: χ in ppm that the second level begins from, less what the first finds. Default: none.
        strong_weight: in ppm · mm, of the first level. Default 3e-3, ten times the second's.
        weight: in ppm · mm, of the second level. Default: chosen from the data
            (:func:`~jaxqsm.tuning.choose_weight`).
        tolerance: relative change of the iterate at which to stop. Default 2e-2.
        max_iterations: bound on the iterations of each level. Default 200.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Four real FFTs an iteration; exact gradients.

    References:
        Wei et al. 2015, NMR Biomed 28:1294, doi:10.1002/nbm.3383.

    Example:
        >>> import jax.numpy as jnp
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = star(jnp.zeros(mask.shape), mask, Geometry(), max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    given = inversion_problem(local_field, mask, geometry, weights, magnitude)
    strong = total_variation_admm(
        given,
        linear(given.field, given.weights),
        weight=strong_weight,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    rest = (given.field - dipole_convolve(strong, given.kernel, given.shape)) * (given.weights > 0)
    weak = total_variation_admm(
        given._replace(field=rest),
        linear(rest, given.weights),
        weight=weight,
        start=None if start is None else pad(start, given.shape) - strong,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    return given.to_scan_grid(strong + weak)
