"""Susceptibility-weighted imaging of several echoes, with even brightness and a smooth phase mask."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.operators import gaussian_mean, quantile, weighted_mean

SENSITIVITY_RADIUS = 15.0
"""mm, of the ball whose mean is taken for the coil's sensitivity: wider than structures, narrower than it."""

PASSES = 2
"""High-pass repetitions: at the border half a Gaussian is not centred, and one pass leaves slopes there."""

PERCENTILE = 75.0
"""Percentile of the positive phase in the mask at which the phase mask is one half."""


@partial(jax.jit, static_argnames="smoothing")
def clear_swi(
    unwrapped: Float[Array, "x y z echo"],
    magnitude: Float[Array, "x y z echo"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    acquisition: Acquisition,
    *,
    smoothing: float = 4.0,
    strength: float = 2.0,
) -> Float[Array, "x y z"]:
    """Combine all echoes, homogenise their magnitude, and apply a sigmoid phase mask (CLEAR-SWI).

    Use it for multi-echo scans.

    Every echo's phase is unwrapped before its slow part is taken off, so that nothing turns over near the
    nose and ears as it does with :func:`~jaxqsm.weighting.swi`; echoes count by the phase contrast to noise
    that they have, magnitude times echo time. The joint magnitude is the root of the sum of squares over its
    mean about every voxel, which takes the coil's sensitivity off and compresses what is bright.

    Args:
        unwrapped: phase in rad, such as that of :func:`jaxqsm.unwrapping.laplacian`; positive where the field
            is higher. What lies outside the mask is ignored.
        magnitude: any unit.
        mask: where there is signal.
        geometry: voxel size (mm).
        acquisition: echo times.
        smoothing: standard deviation in mm of the Gaussian that makes the slow part. Default 4.
        strength: of the sigmoid ½ (1 − tanh(strength (φ / φ₀ − 1))) for φ > 0, over its value at 0; φ₀ is the
            75th percentile of positive phase. Default 2.

    Returns:
        About 1 in tissue, 0 outside the mask. Differentiable.

    References:
        Eckstein et al. 2021, NeuroImage 237:118175, doi:10.1016/j.neuroimage.2021.118175.

    Example:
        >>> acquisition = Acquisition((0.004, 0.012), 3.0)
        >>> ones, mask = jnp.ones((8, 8, 8, 2)), jnp.ones((8, 8, 8), bool)
        >>> clear_swi(0 * ones, ones, mask, Geometry(), acquisition).shape
        (8, 8, 8)
    """
    inside = mask.astype(magnitude.dtype)
    contrast = magnitude * acquisition.echo_times * inside[..., None]

    def high_passed(phase: Array) -> Array:
        count = jnp.maximum(gaussian_mean(inside, smoothing, geometry), 1e-3)
        for _ in range(PASSES):
            phase = (phase - gaussian_mean(phase, smoothing, geometry) / count) * inside
        return phase

    phases = jax.vmap(high_passed, -1, -1)(unwrapped * inside[..., None])
    joint = jnp.sum(contrast * phases, axis=-1) / jnp.maximum(jnp.sum(contrast, axis=-1), 1e-30)
    half = jnp.nan_to_num(quantile(joint, mask & (joint > 0), PERCENTILE / 100), nan=1.0)
    darkening = 1 - jnp.tanh(strength * (jnp.maximum(joint, 0) / half - 1))
    darkening = darkening / (1 + jnp.tanh(strength))
    bright = jnp.sqrt(jnp.sum(magnitude**2, axis=-1) + 1e-30)
    level = weighted_mean(bright, inside, SENSITIVITY_RADIUS, geometry)
    even = bright / jnp.where(mask & (level > 0), level, 1)
    # Bright vessels and fat would else take the display's range.
    return jnp.tanh(even) / jnp.tanh(1.0) * darkening * inside
