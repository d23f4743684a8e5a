"""Proximal maps."""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

Vectors = TypeVar("Vectors", bound=tuple[Array, ...])


def shrink_vectors(vectors: Vectors, threshold: ArrayLike) -> Vectors:
    """Shorten every vector by ``threshold``: the proximal map of the sum of lengths.

    Args:
        vectors: one array a component, all of one shape.
        threshold: how much shorter, unit of ``vectors``; shorter vectors become zero.

    Returns:
        The components of the shortened vectors.
    """
    squared = sum(component**2 for component in vectors)
    longer = squared > jnp.asarray(threshold) ** 2
    # The inner `where` keeps the gradient finite where the vector is zero.
    length = jnp.sqrt(jnp.where(longer, squared, 1))
    factor = jnp.where(longer, 1 - threshold / length, 0)
    return jax.tree.map(lambda component: component * factor, vectors)
