"""Threshold between two kinds of values, from their histogram."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

BINS = 256


def otsu(values: Float[Array, "*axes"]) -> Float[Array, ""]:
    """Find the threshold that leaves least variance within the two classes it makes.

    scikit-image has it too, in NumPy.

    Args:
        values: any unit, finite.

    Returns:
        The centre of one of 256 bins from the least value to the greatest, the last of the lower class.

    References:
        Otsu 1979, IEEE Trans SMC 9:62, doi:10.1109/TSMC.1979.4310076.
    """
    low, high = values.min(), values.max()
    width = jnp.maximum(high - low, 1e-30) / BINS
    bins = jnp.clip(jnp.floor((values - low) / width), 0, BINS - 1).astype(jnp.int32)
    counts = jnp.zeros(BINS, jnp.int32).at[bins.ravel()].add(1).astype(jnp.float32) / values.size
    centres = jnp.arange(BINS) + 0.5
    below, total = jnp.cumsum(counts), jnp.cumsum(counts * centres)
    above = 1 - below
    between = (total[-1] * below - total) ** 2 / jnp.where(below * above > 0, below * above, 1)
    return low + width * centres[jnp.argmax(between)]
