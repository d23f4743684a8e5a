"""Proximal maps."""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

Arrays = TypeVar("Arrays", bound=tuple[Array, ...])


def shrink(arrays: Arrays, threshold: ArrayLike, *, huber_threshold: float = 0.0) -> Arrays:
    """Shrink every value towards zero by ``threshold``: the proximal map of the sum of sizes.

    Differences between neighbours are shortened each by itself, not as vectors of three: a vector of forward
    differences would tie a voxel to its neighbours on one side only, and an image stored the other way round
    would have another solution.

    Args:
        arrays: any number, of one shape.
        threshold: how much nearer, unit of ``arrays``, a number or one a voxel; smaller values become zero.
        huber_threshold: size below which the penalty is a square (Huber's), unit of ``arrays``. Default 0,
            for none.

    Returns:
        Arrays of the same shape.
    """
    limit = jnp.asarray(threshold)

    def nearer(array: Array) -> Array:
        pull = array * (limit / (limit + huber_threshold)) if huber_threshold > 0 else array
        return array - jnp.clip(pull, -limit, limit)

    return jax.tree.map(nearer, arrays)
