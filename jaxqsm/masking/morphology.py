"""Morphological operations on masks, in millimetres."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def largest(mask: np.ndarray) -> np.ndarray:
    """Keep the largest face-connected part of a mask."""
    parts, count = ndimage.label(mask)
    if count <= 1:
        return mask
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def depth(mask: np.ndarray, voxel_size: np.ndarray) -> np.ndarray:
    """Measure the distance in mm to the nearest voxel outside ``mask``; infinite when there is none."""
    if mask.all():
        return np.full(mask.shape, float(np.linalg.norm(mask.shape * voxel_size)))
    return ndimage.distance_transform_edt(mask, sampling=voxel_size)


def near(mask: np.ndarray, radius: float, voxel_size: np.ndarray) -> np.ndarray:
    """Grow ``mask`` by ``radius`` mm."""
    return depth(~mask, voxel_size) <= radius


def closed(mask: np.ndarray, radius: float, voxel_size: np.ndarray) -> np.ndarray:
    """Fill gaps of ``mask`` that are narrower than twice ``radius`` mm."""
    return mask | (depth(near(mask, radius, voxel_size), voxel_size) > radius)


def finished(mask: np.ndarray, voxel_size: np.ndarray, *, gaps: float, erosion: float | None) -> np.ndarray:
    """Fill gaps of half width ``gaps`` mm and holes, then take off ``erosion`` as :func:`peeled` does."""
    return peeled(ndimage.binary_fill_holes(closed(mask, gaps, voxel_size)), erosion, voxel_size)


def peeled(mask: np.ndarray, erosion: float | None, voxel_size: np.ndarray) -> np.ndarray:
    """Take ``erosion`` mm off a mask, or one layer of voxels where it is None.

    Nothing is taken off at the array's border, where the object may go on.
    """
    if erosion is None:
        return ndimage.binary_erosion(mask, border_value=1)
    return depth(mask, voxel_size) > erosion
