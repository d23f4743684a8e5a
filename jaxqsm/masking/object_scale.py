"""Size of what was scanned, relative to the adult human head that defaults in mm are made for."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from jaxqsm.geometry import Geometry

ADULT_BRAIN = 1.4e6
"""mm³, volume of a mask of the adult brain with its cerebrospinal fluid."""

MOSTLY = 0.5
"""Share of an object's surface on the border of the array from which it is cut out of a larger one."""

LEAST_HALF_WIDTH = 10.0
"""mm; a piece of a head that is thinner is taken for one of a smaller object."""


def object_scale(
    mask: Bool[np.ndarray, "x y z"], geometry: Geometry, *, volume: float = ADULT_BRAIN
) -> float:
    """Measure the length of an object relative to an adult's: the cube root of the volume ratio.

    Radii, erosions and weights in mm that suit a head of 140 mm are too long for a mouse's of 10 mm, and
    their share of the object is what matters. An object that is mostly cut off by the array's border is of
    unknown size, and taken for a piece of an adult head unless it is thinner than such a piece would be.

    Args:
        mask: of the object.
        geometry: voxel size (mm).
        volume: of the adult's, mm³. Default 1.4e6, of a brain.

    Returns:
        1 for an adult, 0.07 for a mouse. Where the voxel size is multiplied by a factor so is this.

    Raises:
        ValueError: the mask is empty.

    Example:
        >>> mask = np.ones((9, 9, 9), bool)
        >>> round(object_scale(np.pad(mask, 1), Geometry((0.2, 0.2, 0.2))), 4)
        0.0161
    """
    if not mask.any():
        raise ValueError("the mask is empty")
    voxel_size = np.asarray(geometry.voxel_size, float)
    if is_cut_out(mask, geometry):
        half_width = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=voxel_size).max()
        return float(min(1.0, half_width / LEAST_HALF_WIDTH))
    return float(np.cbrt(mask.sum() * voxel_size.prod() / volume))


def is_cut_out(mask: Bool[np.ndarray, "x y z"], geometry: Geometry) -> bool:
    """Check whether most of a mask's surface lies on the array's border, as of a cut-out crop."""
    voxel_size = np.asarray(geometry.voxel_size, float)
    border = free = 0.0
    for axis in range(3):
        face = float(np.prod(np.delete(voxel_size, axis)))
        ends = np.take(mask, [0, -1], axis=axis)
        border += face * ends.sum()
        free += face * (np.diff(mask.astype(np.int8), axis=axis) != 0).sum()
    return border > MOSTLY * (border + free)
