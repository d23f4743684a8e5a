"""FANSI with total generalised variation."""

from __future__ import annotations

from functools import partial

import jax
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.tuning import weight_from_data
from jaxqsm.variational.admm import tgv_admm
from jaxqsm.variational.data_terms import of_phase
from jaxqsm.variational.problem import inversion_problem

FIELD_RHO = 0.5
"""Less does not come to rest where the phase is large: the data term is not convex."""


@partial(jax.jit, static_argnames="max_iterations")
@weight_from_data(2e-4)
def fansi_tgv(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    acquisition: Acquisition | None = None,
    start: Float[Array, "x y z"] | None = None,
    weight: float,
    ratio: float = 4.0,
    tolerance: float = 5e-3,
    max_iterations: int = 200,
) -> Float[Array, "x y z"]:
    """Minimise ½ |W (exp(i s Dχ) − exp(i s field))|² / s² + weight Σ (|∇χ − w| + ratio |ℰw|).

    Use it where χ has slopes and the field has unwrapping errors.

    The data term of :func:`~jaxqsm.inversion.fansi_tv` with the penalty of :func:`~jaxqsm.inversion.tgv`.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        acquisition: echo times and field strength; the data term is then that of the phase, s being the
            acquisition's ``phase_scale``. Default: that of the field, the limit s → 0.
        start: χ in ppm to begin from, such as that of another weight. Default: none.
        weight: in ppm · mm, of the first penalty. Default: chosen from the data
            (:func:`~jaxqsm.tuning.choose_weight`).
        ratio: mm; weight of the second penalty over the first. Default 4, as for
            :func:`~jaxqsm.inversion.tgv`.
        tolerance: relative change of the iterate at which to stop. Default 5e-3.
        max_iterations: bound on the iterations. Default 200.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Ten real FFTs an iteration; exact gradients.

    References:
        Milovic et al. 2018, MRM 80:814, doi:10.1002/mrm.27073.

    Example:
        >>> import jax.numpy as jnp
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = fansi_tgv(jnp.zeros(mask.shape), mask, Geometry(), max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    given = inversion_problem(local_field, mask, geometry, weights, magnitude)
    chi = tgv_admm(
        given,
        of_phase(given.field, given.weights, acquisition, rho=FIELD_RHO),
        field_rho=FIELD_RHO,
        weight=weight,
        start=start,
        ratio=ratio,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    return given.to_scan_grid(chi)
