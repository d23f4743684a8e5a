"""Erosion of masks by a radius in mm, and peeling of unreliable voxels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from jaxqsm.geometry import Geometry
from jaxqsm.operators.spherical_mean import spherical_mean

FULL = 0.999
"""A ball is inside a mask when this much of it is: below 1 by the rounding of a float32 FFT."""


def erode(mask: Bool[Array, "x y z"], radius: float, geometry: Geometry) -> Bool[Array, "x y z"]:
    """Keep voxels whose ball of ``radius`` mm lies within ``mask``; beyond the array is outside.

    Args:
        mask: shape ``(x, y, z)``.
        radius: radius in mm.
        geometry: voxel size in mm; a voxel longer than the radius is eroded by less.

    Returns:
        Boolean mask of the same shape.
    """
    # One empty layer suffices: a convex ball that wraps around must cross it.
    return mask & (spherical_mean(mask.astype(float), radius, geometry, margin=1) > FULL)


def without_border(mask: Bool[Array, "x y z"]) -> Bool[Array, "x y z"]:
    """Keep voxels of the mask whose six neighbours are in it too; beyond the array is outside."""
    wide = jnp.pad(mask, 1)
    core = slice(1, -1)
    for axis in range(3):
        for side in (slice(None, -2), slice(2, None)):
            place = [core] * 3
            place[axis] = side
            mask = mask & wide[tuple(place)]
    return mask


def peel(mask: Bool[Array, "x y z"], bad: Bool[Array, "x y z"]) -> Bool[Array, "x y z"]:
    """Take ``bad`` voxels off the mask that reach its border through bad voxels alone.

    Bad voxels within stay: a hole would cost background removal a whole ball around it.

    Args:
        mask: shape ``(x, y, z)``; voxels beyond the array are outside it.
        bad: same shape.

    Returns:
        Boolean mask of the same shape. Voxels touch by their faces. No gradient passes.
    """
    bad = bad & mask

    def grown(outside: Array) -> Array:
        wide = jnp.pad(outside, 1, constant_values=True)
        core = slice(1, -1)
        for axis in range(3):
            for side in (slice(None, -2), slice(2, None)):
                place = [core] * 3
                place[axis] = side
                outside = outside | (wide[tuple(place)] & bad)
        return outside

    def unfinished(state: tuple[Array, Array]) -> Array:
        return (state[0] != state[1]).any()

    start = ~mask
    outside, _ = jax.lax.while_loop(unfinished, lambda s: (grown(s[0]), s[0]), (grown(start), start))
    return ~outside
