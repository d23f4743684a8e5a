"""Erosion of a mask by a ball of given radius in mm."""

from __future__ import annotations

from jaxtyping import Array, Bool

from jaxqsm.geometry import Geometry
from jaxqsm.operators.spherical_mean import spherical_mean

FULL = 0.999
"""A ball is inside a mask when this much of it is: below 1 by the rounding of a float32 FFT."""


def erode(mask: Bool[Array, "x y z"], radius: float, geometry: Geometry) -> Bool[Array, "x y z"]:
    """Voxels whose ball of ``radius`` mm lies within ``mask``; outside the array counts as outside.

    Args:
        mask: shape ``(x, y, z)``.
        radius: radius in mm.
        geometry: voxel size in mm; a voxel longer than the radius is eroded by less.

    Returns:
        Boolean mask of the same shape.
    """
    # One empty layer suffices: a convex ball that wraps around must cross it.
    return mask & (spherical_mean(mask.astype(float), radius, geometry, margin=1) > FULL)
