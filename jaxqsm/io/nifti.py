"""NIfTI images, checked on reading."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from jaxqsm.io.errors import InputError


@dataclasses.dataclass(frozen=True)
class Image:
    """One image file.

    Attributes:
        data: values with the header's scaling applied, float32, 3-D or 4-D.
        affine: voxel to scanner coordinates in mm, 4×4.
        path: where it came from, for messages.
    """

    data: np.ndarray
    affine: np.ndarray
    path: Path


def load(path: Path | str, *, replace_nonfinite: bool = False) -> Image:
    """Read a NIfTI file whole.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        replace_nonfinite: put 0 in place of NaN and infinity instead of refusing the file.

    Raises:
        InputError: missing, unreadable or truncated file; not 3-D or 4-D; NaN or infinite voxels.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        image = nib.load(path)
        data: np.ndarray = np.asarray(image.dataobj, np.float32)  # type: ignore[attr-defined]
    except (nib.filebasedimages.ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: cannot be read as NIfTI, it is truncated or another format ({reason}); "
            "copy or convert it again"
        ) from error
    affine: np.ndarray = np.asarray(image.affine, np.float64)  # type: ignore[attr-defined]
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim not in (3, 4):
        raise InputError(f"{path}: has {data.ndim} dimensions {data.shape}; 3 or 4 are needed")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(f"{path}: the affine is singular; repair its header (sform or qform)")
    broken = ~np.isfinite(data)
    if broken.any():
        if not replace_nonfinite:
            raise InputError(
                f"{path}: {int(broken.sum())} voxels are NaN or infinite; "
                "repair the file, or pass --replace-nonfinite to treat them as 0"
            )
        data = np.where(broken, np.float32(0), data)
    return Image(data, affine, path)


def load_mask(path: Path | str) -> Image:
    """Read a mask: non-zero is inside.

    Raises:
        InputError: as :func:`load`; not 3-D; empty.
    """
    image = load(path)
    if image.data.ndim != 3:
        raise InputError(f"{image.path}: a mask needs 3 dimensions, this has {image.data.ndim}")
    inside = image.data != 0
    if not inside.any():
        raise InputError(f"{image.path}: the mask is empty (all zero); pass another --mask")
    return dataclasses.replace(image, data=inside)


def require_same_grid(first: Image, second: Image) -> None:
    """Refuse two images whose first three dimensions or affines differ: nothing is resampled.

    Raises:
        InputError: naming both files and what differs.
    """
    a, b = first.data.shape[:3], second.data.shape[:3]
    if a != b:
        raise InputError(
            f"{second.path}: shape {b} differs from {a} of {first.path}; both must be of one scan"
        )
    # A hundredth of a voxel: headers round, scanners do not move by that little.
    tolerance = 0.01 * np.sqrt((first.affine[:3, :3] ** 2).sum(axis=0)).min()
    if not np.allclose(first.affine, second.affine, rtol=0, atol=tolerance):
        raise InputError(
            f"{second.path}: its affine differs from that of {first.path}; "
            "resample one onto the other, or repair the header that is wrong"
        )


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Write a NIfTI file in mm and scanner coordinates; masks and labels as uint8, else float32."""
    array = np.asarray(data)
    array = array.astype(np.uint8 if array.dtype.kind in "bui" else np.float32)
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, path)


def save_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write indented JSON; NaN, which JSON does not know, becomes null."""
    path.write_text(json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
