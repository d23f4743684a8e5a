"""Haar wavelets of volumes: orthogonal, sparse where an image is piecewise constant."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

ROOT_HALF = 0.5**0.5

Details = list[Float[Array, "7 _ _ _"]]
"""Subbands of every level, the finest first: the seven with a difference along some axis."""


def haar(image: Float[Array, "x y z"], levels: int) -> tuple[Float[Array, "i j k"], Details]:
    """Transform an image to Haar means and details.

    Args:
        image: any unit; every edge is a multiple of 2 ** ``levels``.
        levels: how often voxels are joined in pairs along all axes.

    Returns:
        Scaled means of the coarsest level and the details of all; energy is kept, so the inverse,
        :func:`haar_inverse`, is the adjoint.

    References:
        Mallat 1989, IEEE TPAMI 11:674, doi:10.1109/34.192463.
    """
    details = []
    for _ in range(levels):
        bands = image[None]
        for axis in range(1, 4):
            bands = _split(bands, axis)
        image = bands[0]
        details.append(bands[1:])
    return image, details


def haar_inverse(means: Float[Array, "i j k"], details: Details) -> Float[Array, "x y z"]:
    """Invert :func:`haar`."""
    image = means
    for rest in reversed(details):
        bands = jnp.concatenate([image[None], rest])
        for axis in (3, 2, 1):
            bands = _join(bands, axis)
        image = bands[0]
    return image


def _split(bands: Array, axis: int) -> Array:
    """Every band as sums and differences of pairs along an axis, sums of all bands first."""
    shape = bands.shape
    pairs = bands.reshape(*shape[:axis], shape[axis] // 2, 2, *shape[axis + 1 :])
    first, second = (jnp.take(pairs, k, axis=axis + 1) for k in (0, 1))
    return ROOT_HALF * jnp.concatenate([first + second, first - second])


def _join(bands: Array, axis: int) -> Array:
    sums, differences = jnp.split(bands, 2)
    pairs = ROOT_HALF * jnp.stack([sums + differences, sums - differences], axis=axis + 1)
    shape = sums.shape
    return pairs.reshape(*shape[:axis], 2 * shape[axis], *shape[axis + 1 :])
