"""Hybrid data fidelity: first sums of errors, then sums of squares."""

from __future__ import annotations

from functools import partial

import jax
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.inversion.l1_qsm import TYPICAL_MISFIT
from jaxqsm.tuning import weight_from_data
from jaxqsm.variational.admm import total_variation_admm
from jaxqsm.variational.data_terms import absolute, linear
from jaxqsm.variational.problem import inversion_problem


@partial(jax.jit, static_argnames=("start_iterations", "max_iterations"))
@weight_from_data(2e-4)
def hd_qsm(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    start: Float[Array, "x y z"] | None = None,
    first_weight: float = 0.05,
    weight: float,
    start_iterations: int = 20,
    max_iterations: int = 60,
) -> Float[Array, "x y z"]:
    """Invert with an L1 data term first, then with an L2 one from there (HD-QSM).

    Use it where outliers and noise are both present and time is short.

    The first stage is robust against gross errors; the second, stopped early, removes the noise that sums of
    absolute errors leave.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        start: χ in ppm to begin from, such as that of another weight. Default: none.
        first_weight: in mm, of the first stage's penalty. Default 0.05.
        weight: in ppm · mm, of the second stage's. Default: chosen from the data
            (:func:`~jaxqsm.tuning.choose_weight`).
        start_iterations: of the first stage. Default 20, as published.
        max_iterations: of the second stage. Default 60.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Four real FFTs an iteration; gradients unroll.

    References:
        Lambert et al. 2022, MRM 88:962, doi:10.1002/mrm.29218.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = hd_qsm(jnp.zeros(mask.shape), mask, Geometry(), start_iterations=2, max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    given = inversion_problem(local_field, mask, geometry, weights, magnitude)
    chi = total_variation_admm(
        given,
        absolute(given.field, TYPICAL_MISFIT * given.confidence),
        weight=TYPICAL_MISFIT * first_weight,
        start=start,
        tolerance=None,
        max_iterations=start_iterations,
    )
    chi = total_variation_admm(
        given,
        linear(given.field, given.weights),
        weight=weight,
        start=chi,
        tolerance=None,
        max_iterations=max_iterations,
    )
    return given.to_scan_grid(chi)
