"""Shared range of the fits of R2*."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

HIGHEST = 2000.0
"""1/s. Faster decay leaves no signal at any echo time in use."""


def relative(magnitude: Float[Array, "x y z echo"]) -> Float[Array, "x y z echo"]:
    """Scale to the brightest echo of each voxel, so that the unit does not matter."""
    brightest = jnp.max(magnitude, axis=-1, keepdims=True)
    return magnitude / jnp.where(brightest > 0, brightest, 1)


def bounded(rate: Float[Array, "x y z"], mask: Bool[Array, "x y z"]) -> Float[Array, "x y z"]:
    """Limit to [0, :data:`HIGHEST`] in the mask; 0 outside it and where there was nothing to fit."""
    return jnp.clip(jnp.nan_to_num(rate, posinf=HIGHEST, neginf=0.0), 0, HIGHEST) * mask
