"""Between a NIfTI affine and the geometry that physics needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.linalg import polar
from scipy.spatial.transform import Rotation

from jaxqsm.geometry import Geometry
from jaxqsm.io.errors import InputError

MAX_SHEAR = 0.02
"""Largest departure of the voxel axes from a right angle, as a sine, that is header rounding."""


def geometry_from(
    affine: np.ndarray, *, b0_dir: Sequence[float] | np.ndarray | None = None, path: Path | str = "image"
) -> Geometry:
    """Compute voxel size and field direction: the scanner's z axis in voxel axes.

    Args:
        affine: voxel to scanner coordinates, 4×4, mm.
        b0_dir: overrides the direction (voxel axes, any length).
        path: file that the affine belongs to, for messages.

    Raises:
        InputError: voxel axes not at right angles, or a ``b0_dir`` that is not three finite
            numbers, one of them non-zero.
    """
    axes = np.asarray(affine, float)[:3, :3]
    voxel_size = np.linalg.norm(axes, axis=0)
    rotation, stretch = polar(axes / voxel_size)
    if np.abs(stretch - np.eye(3)).max() > MAX_SHEAR:
        raise InputError(f"{path}: its affine is sheared; resample the image to right angles first")
    direction = rotation.T @ np.array([0.0, 0.0, 1.0]) if b0_dir is None else direction_from(b0_dir)
    return Geometry(voxel_size, direction / np.linalg.norm(direction))


def direction_from(b0_dir: Sequence[float] | np.ndarray, *, name: str = "--b0-dir") -> np.ndarray:
    """Check a direction that a person or a sidecar gives, of any length.

    Raises:
        InputError: it is not three finite numbers, one of them non-zero.
    """
    direction = np.asarray(b0_dir, float)
    if direction.shape != (3,) or not np.isfinite(direction).all() or not direction.any():
        raise InputError(f"{name} {b0_dir}: three numbers are needed, one of them non-zero")
    return direction


def affine_from(
    geometry: Geometry, shape: Sequence[int], centre: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """Make the affine whose :func:`geometry_from` is ``geometry``, with the smallest tilt.

    Args:
        geometry: voxel size (mm) and field direction in voxel axes.
        shape: array shape ``(x, y, z)``.
        centre: scanner coordinates in mm of the middle of the array.
    """
    tilt, _ = Rotation.align_vectors([[0, 0, 1]], [np.asarray(geometry.unit_b0_dir, float)])
    affine = np.eye(4)
    affine[:3, :3] = tilt.as_matrix() * np.asarray(geometry.voxel_size, float)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine
