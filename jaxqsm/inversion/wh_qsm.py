"""Weak harmonic inversion: what is left of the background is found along with χ."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.operators import erode, pad
from jaxqsm.tuning import weight_from_data
from jaxqsm.variational.admm import total_variation_admm
from jaxqsm.variational.data_terms import of_phase
from jaxqsm.variational.field_split import Harmonic
from jaxqsm.variational.problem import inversion_problem


@partial(jax.jit, static_argnames="max_iterations")
@weight_from_data(3e-4)
def wh_qsm(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    acquisition: Acquisition | None = None,
    start: Float[Array, "x y z"] | None = None,
    weight: float,
    harmonic_weight: float = 150.0,
    tolerance: float = 1e-2,
    max_iterations: int = 300,
) -> Float[Array, "x y z"]:
    """Minimise ½ |W (exp(i s (Dχ + h)) − exp(i s field))|² / s² + weight Σ |∇χ|₁ + ½ ν |M ∇²h|².

    Use it where background removal left a residual field.

    ν is ``harmonic_weight``, and h a field that is nearly harmonic within the mask, as that of
    sources outside is.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        acquisition: echo times and field strength; the data term is then that of the phase, s being the
            acquisition's ``phase_scale``. Default: that of the field, the limit s → 0.
        start: χ in ppm to begin from, such as that of another weight. Default: none.
        weight: in ppm · mm. Default: chosen from the data (:func:`~jaxqsm.tuning.choose_weight`).
        harmonic_weight: in mm⁴; the larger, the more nearly harmonic. Default 150, as published.
        tolerance: relative change of the iterate at which to stop. Default 1e-2: smooth fields come late.
        max_iterations: bound on the iterations. Default 300.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Six real FFTs an iteration; exact gradients.

    References:
        Milovic et al. 2019, MRM 81:1399, doi:10.1002/mrm.27483.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = wh_qsm(jnp.zeros(mask.shape), mask, Geometry(), max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    given = inversion_problem(local_field, mask, geometry, weights, magnitude)
    # The Laplacian of a voxel at the border takes in values from outside, where h is free.
    inside = pad(erode(mask, 1.0, geometry), given.shape)
    # Split off as tightly as it is weighted, so half of it stays.
    harmonic = Harmonic(kept=jnp.where(inside, 0.5, 1.0), rho=harmonic_weight)
    chi = total_variation_admm(
        given,
        of_phase(given.field, given.weights, acquisition),
        weight=weight,
        harmonic=harmonic,
        start=start,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    return given.to_scan_grid(chi)
