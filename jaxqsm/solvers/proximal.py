"""Proximal maps."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


def shrink_vectors(vectors: Float[Array, "3 *shape"], threshold: ArrayLike) -> Float[Array, "3 *shape"]:
    """Shorten every vector (axis 0) by ``threshold``: the proximal map of the sum of lengths."""
    squared = jnp.sum(vectors**2, axis=0)
    longer = squared > jnp.asarray(threshold) ** 2
    # The second `where` keeps the gradient finite where the vector is zero.
    length = jnp.sqrt(jnp.where(longer, squared, 1))
    return vectors * jnp.where(longer, 1 - threshold / length, 0)
