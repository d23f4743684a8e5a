"""Quantiles by counting: no sort, which no two devices could share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float


def quantile(
    values: Float[Array, "*axes"], where: Bool[Array, "*axes"], level: ArrayLike
) -> Float[Array, ""]:
    """Find the value below which a part of all values lies, interpolated between the two beside it.

    The bits of a floating number, read as an integer, order as the number does. So each bit of the answer is
    found by one count over the array: 32 for float32, exact, in place of a sort, and no more memory than the
    array has. NaN if there is no value.

    Args:
        values: any shape.
        where: which of them count; those do not may be NaN.
        level: 0 (the least) to 1 (the greatest).

    Returns:
        As :func:`jax.numpy.nanquantile` of the values that count. Derivatives are those of the values beside
        the quantile; equal ones share them.

    Example:
        >>> float(quantile(jnp.arange(5.0), jnp.ones(5, bool), 0.25))
        1.0
    """
    count = jnp.sum(where)
    position = jnp.clip(level, 0, 1) * jnp.maximum(count - 1, 0).astype(values.dtype)
    rank = jnp.floor(position).astype(count.dtype)
    keys = _ordered(jax.lax.stop_gradient(values))
    beyond = ~jnp.zeros((), keys.dtype)  # after every number
    keys = jnp.where(where, keys, beyond)
    below = _of_rank(keys, rank)
    # The next is the same where several are equal, else the least of those above; the greatest has none.
    least = jnp.min(jnp.where(keys > below, keys, beyond))
    above = jnp.where((jnp.sum(keys <= below) > rank + 1) | (rank + 1 >= count), below, least)
    low, high = (_mean_of(values, where & (keys == key)) for key in (below, above))
    return jnp.where(count > 0, low + (position - rank) * (high - low), jnp.nan)


UNSIGNED = {4: jnp.uint32, 8: jnp.uint64}
"""Integers by their size in bytes, which floating numbers of that size are read as."""


def _ordered(values: Array) -> Array:
    """Read numbers as integers that are in the same order."""
    size = values.dtype.itemsize
    bits = jax.lax.bitcast_convert_type(values, UNSIGNED[size])
    sign = jnp.asarray(2 ** (8 * size - 1), bits.dtype)
    return jnp.where(bits >= sign, ~bits, bits | sign)


def _of_rank(keys: Array, rank: Array) -> Array:
    """Find the key that ``rank`` others come before, from its highest bit to its lowest."""
    bits = 8 * keys.dtype.itemsize

    def decide(i: Array, found: Array) -> Array:
        tried = found | (jnp.asarray(1, keys.dtype) << (bits - 1 - i).astype(keys.dtype))
        return jnp.where(jnp.sum(keys < tried) <= rank, tried, found)

    found: Array = jax.lax.fori_loop(0, bits, decide, jnp.zeros((), keys.dtype))
    return found


def _mean_of(values: Array, where: Array) -> Array:
    return jnp.sum(jnp.where(where, values, 0)) / jnp.maximum(jnp.sum(where), 1)
