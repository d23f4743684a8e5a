"""Weighted linear fit of unwrapped phase over echo time."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Acquisition


@partial(jax.jit, static_argnames="intercept")
def weighted_fit(
    phase: Float[Array, "x y z echo"],
    magnitude: Float[Array, "x y z echo"],
    mask: Bool[Array, "x y z"],
    acquisition: Acquisition,
    *,
    intercept: bool = False,
) -> Float[Array, "x y z"]:
    """Fit the slope of phase over echo time with weights magnitude², the inverse noise variance.

    Use it by default: closed form, optimal at high SNR.

    Args:
        phase: unwrapped phase in rad.
        magnitude: any unit.
        mask: where to fit.
        acquisition: echo times and field strength.
        intercept: also fit a phase offset per voxel. Default false: more precise, but the offset
            must have been removed (:func:`~jaxqsm.field_mapping.mcpc_3d_s`).

    Returns:
        Total field in ppm, zero outside the mask.

    References:
        Robinson et al. 2017, NMR Biomed 30:e3601, doi:10.1002/nbm.3601 (weights; review).

    Example:
        >>> acquisition = Acquisition((0.004, 0.012), 3.0)
        >>> phase = 0.1 * acquisition.phase_per_ppm * jnp.ones((4, 4, 4, 1))
        >>> mask = jnp.ones((4, 4, 4), bool)
        >>> field = weighted_fit(phase, jnp.ones(phase.shape), mask, acquisition)
        >>> bool(jnp.allclose(field, 0.1, atol=1e-4))  # ppm
        True
    """
    weights = magnitude**2
    scale = jnp.maximum(weights.max(), 1e-30)
    weights = weights / scale + 1e-12  # a voxel without any signal is fitted evenly, not 0/0
    ramp = acquisition.phase_per_ppm
    if intercept:
        total = weights.sum(-1, keepdims=True)
        mean_ramp = (weights * ramp).sum(-1, keepdims=True) / total
        mean_phase = (weights * phase).sum(-1, keepdims=True) / total
        ramp, phase = ramp - mean_ramp, phase - mean_phase
    field = (weights * ramp * phase).sum(-1) / (weights * ramp**2).sum(-1)
    return field * mask
