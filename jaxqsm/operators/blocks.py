"""Images on coarser voxels, each a block of whole fine ones, and back."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def block_mean(
    image: Float[Array, "x y z"], weights: Float[Array, "x y z"], factors: Sequence[int]
) -> tuple[Float[Array, "X Y Z"], Float[Array, "X Y Z"]]:
    """Average blocks of voxels with weights; returns the mean weight of each block too.

    The far end is filled up with voxels of no weight. Where a block has no weight its mean is 0.

    Args:
        image: any unit.
        weights: not negative.
        factors: voxels of a block along each axis.
    """
    total, weight = (_block_sum(v, factors) for v in (image * weights, weights))
    mean = total / jnp.where(weight > 0, weight, 1)
    return mean, weight / (factors[0] * factors[1] * factors[2])


def block_interpolate(
    image: Float[Array, "X Y Z"],
    weights: Float[Array, "X Y Z"],
    factors: Sequence[int],
    shape: tuple[int, int, int],
) -> Float[Array, "x y z"]:
    """Interpolate linearly between the centres of blocks that have weight, at the voxels of ``shape``.

    Near blocks without weight it is the mean of the others nearby; where there are none, 0.

    Args:
        image: value of each block.
        weights: not negative.
        factors: voxels of a block along each axis, as in :func:`block_mean`.
        shape: of the fine grid.
    """
    fine = tuple(n * f for n, f in zip(image.shape, factors, strict=True))
    total, weight = (jax.image.resize(v, fine, "linear") for v in (image * weights, weights))
    x, y, z = shape
    return jnp.where(weight > 1e-6, total / jnp.where(weight > 1e-6, weight, 1), 0)[:x, :y, :z]


def _block_sum(image: Float[Array, "x y z"], factors: Sequence[int]) -> Float[Array, "X Y Z"]:
    padded = jnp.pad(image, [(0, -n % f) for n, f in zip(image.shape, factors, strict=True)])
    a, b, c = (n // f for n, f in zip(padded.shape, factors, strict=True))
    return padded.reshape(a, factors[0], b, factors[1], c, factors[2]).sum((1, 3, 5))
