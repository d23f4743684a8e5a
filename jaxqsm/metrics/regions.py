"""Agreement of regional means."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer


def regional_means(
    image: Float[Array, "x y z"],
    labels: Integer[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    regions: Sequence[int],
) -> Float[Array, region]:
    """Compute the mean of every region within the mask; NaN for a region with no voxel there."""
    return jnp.stack([jnp.mean(image, where=(labels == r) & mask) for r in regions])


def regional_slope(
    image: Float[Array, "x y z"],
    truth: Float[Array, "x y z"],
    labels: Integer[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    regions: Sequence[int] = (1, 2, 3, 4, 5, 6),
) -> Float[Array, ""]:
    """Compute the regression slope of regional means on the true ones; 1 is right.

    The default regions are the deep grey nuclei of the QSM-CI label scheme. Regions without a voxel
    in the mask are left out.
    """
    a = regional_means(image, labels, mask, regions)
    b = regional_means(truth, labels, mask, regions)
    present = jnp.isfinite(a)
    count = present.sum()
    a = jnp.where(present, a - jnp.sum(a, where=present) / count, 0)
    b = jnp.where(present, b - jnp.sum(b, where=present) / count, 0)
    return jnp.sum(a * b) / jnp.sum(b * b)
