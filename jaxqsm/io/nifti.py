"""NIfTI images, checked on reading and held in one order of axes."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from jaxqsm.io.errors import InputError
from jaxqsm.io.grid import Grid, grid_of

SMALLEST_VOXEL, LARGEST_VOXEL = 0.004, 25.0
"""mm. Beyond them a header is in another unit than it says."""

COMPLEX_REMEDY = "pass it as --complex of jaxqsm run, which takes magnitude and phase from it"


@dataclasses.dataclass(frozen=True)
class Image:
    """One image file.

    Attributes:
        data: values with the header's scaling applied, 3-D or 4-D; float32, or complex64 where asked for.
        grid: where the voxels are.
        path: where it came from, for messages.
        unscaled: values without the header's scaling, in the file's own type.
    """

    data: np.ndarray
    grid: Grid
    path: Path
    unscaled: np.ndarray

    @property
    def affine(self) -> np.ndarray:
        """Voxel to world coordinates in mm, 4×4."""
        return self.grid.affine


def load(
    path: Path | str,
    *,
    replace_nonfinite: bool = False,
    keep_nonfinite: bool = False,
    allow_complex: bool = False,
) -> Image:
    """Read a NIfTI file whole.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        replace_nonfinite: put 0 in place of NaN and infinity instead of refusing the file.
        keep_nonfinite: leave them for the caller, who knows where they matter (:func:`finite_within`).
        allow_complex: whether the file may hold complex values.

    Raises:
        InputError: missing, unreadable, truncated or damaged file; colours; complex values that were not
            expected; not 3-D or 4-D; voxels of no plausible size; NaN or infinite voxels.
    """
    path = Path(path)
    try:
        there = path.is_file()
    except OSError as error:
        raise InputError(f"{path}: cannot be reached ({error.strerror}); check its permissions") from error
    if not there:
        raise InputError(f"{path}: no such file; check the path")
    unscaled, header = _read(path)
    if unscaled.dtype.kind == "V":
        raise InputError(
            f"{path}: holds colours (RGB), not numbers; export the image itself, not a picture of it"
        )
    if unscaled.dtype.kind == "c" and not allow_complex:
        raise InputError(f"{path}: holds complex values, not one real image; {COMPLEX_REMEDY}")
    while unscaled.ndim > 3 and unscaled.shape[-1] == 1:
        unscaled = unscaled[..., 0]
    if unscaled.ndim not in (3, 4):
        raise InputError(f"{path}: has {unscaled.ndim} dimensions {unscaled.shape}; 3 or 4 are needed")
    try:
        grid = grid_of(header, unscaled.shape, path)
    except Exception as error:  # codes that the library does not know
        raise _unreadable(path, error) from error
    for form in (grid.affine, grid.affine if grid.scanner is None else grid.scanner):
        if not np.isfinite(form).all() or abs(np.linalg.det(form[:3, :3])) < 1e-12:
            raise InputError(f"{path}: the affine is singular; repair its header (sform or qform)")
    sizes = np.linalg.norm(grid.affine[:3, :3], axis=0)
    if sizes.min() < SMALLEST_VOXEL or sizes.max() > LARGEST_VOXEL:
        raise InputError(
            f"{path}: voxels of {' × '.join(f'{v:.4g}' for v in sizes)} mm cannot be; its header says unit "
            f"'{header.get_xyzt_units()[0]}': repair pixdim, sform or xyzt_units"
        )
    unscaled = grid.held(unscaled)
    image = Image(_scaled(unscaled, header), grid, path, unscaled)
    return image if keep_nonfinite else finite_within(image, None, replace=replace_nonfinite)


def finite_within(image: Image, mask: np.ndarray | None, *, replace: bool) -> Image:
    """Replace NaN and infinity by 0; within the mask only where ``replace`` is true.

    Args:
        image: from :func:`load`.
        mask: where values matter, ``(x, y, z)``; None: everywhere.
        replace: accept them within the mask too.

    Raises:
        InputError: NaN or infinity within the mask, and not ``replace``.
    """
    broken = ~np.isfinite(image.data)
    if not broken.any():
        return image
    within = broken if mask is None else broken & (mask if broken.ndim == 3 else mask[..., None])
    if within.any() and not replace:
        where = "" if mask is None else " inside the mask"
        raise InputError(
            f"{image.path}: {int(within.sum())} voxels are NaN or infinite{where}; "
            "repair the file, or pass --replace-nonfinite to treat them as 0"
        )
    return dataclasses.replace(image, data=np.where(broken, image.data.dtype.type(0), image.data))


def require_finite(results: Mapping[Any, np.ndarray]) -> None:
    """Refuse results with NaN or infinity before any of them is written.

    Args:
        results: by the file or name that a message is to name.

    Raises:
        InputError: naming the first of them.
    """
    for name, values in results.items():
        broken = int((~np.isfinite(values)).sum())
        if broken:
            raise InputError(
                f"{name}: {broken} of {np.size(values)} voxels of the result are NaN or infinite, so nothing "
                "is written; is an option such as a weight or threshold 0, or a file of weights damaged?"
            )


def load_mask(path: Path | str) -> Image:
    """Read a mask of 0 and 1, or of probabilities, where 0.5 and more is inside; NaN is outside.

    Raises:
        InputError: as :func:`load`; not 3-D; empty; labels or another image.
    """
    image = load(path, replace_nonfinite=True)
    if image.data.ndim != 3:
        raise InputError(f"{image.path}: a mask needs 3 dimensions, this has {image.data.ndim}")
    values = image.data
    if set(np.unique(values)) <= {0.0, 255.0}:  # true of eight bits
        values = values / 255
    # Interpolation overshoots by a few tenths at most; labels and images do not end at one.
    high, low = float(values.max()), float(values.min())
    if high > 1.4 or low < -0.4 or (0 < high < 0.5):
        raise InputError(
            f"{image.path}: values from {low:g} to {high:g}; a mask holds 0 and 1, or probabilities from 0 "
            "to 1: this is a label image or another image; threshold it, or pass another mask"
        )
    inside = values >= 0.5
    if not inside.any():
        raise InputError(f"{image.path}: the mask is empty (no voxel of 0.5 or more); pass another mask")
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


def save(path: Path, data: np.ndarray, grid: Grid | np.ndarray) -> None:
    """Write a NIfTI file in mm, stored as the file was that the grid is of.

    Masks and labels are written as uint8, all else as float32.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        data: ``(x, y, z, …)`` in the order of memory.
        grid: that of the image which the data belong to; or an affine from voxel to scanner coordinates.
    """
    array = np.asarray(data)
    array = array.astype(np.uint8 if array.dtype.kind in "bui" else np.float32)
    if isinstance(grid, Grid):
        (sform, sform_code), (qform, qform_code) = grid.forms
        array = grid.stored(array)
    else:
        sform = qform = np.asarray(grid, float)
        sform_code = qform_code = 1
    affine = sform if sform_code else qform
    image = nib.Nifti1Image(array, affine if sform_code or qform_code else None)
    image.header.set_xyzt_units("mm")
    if not (sform_code or qform_code):
        assert isinstance(grid, Grid)
        sizes = np.linalg.norm(grid.affine[:3, :3], axis=0)
        image.header["pixdim"][1:4] = grid.stored_sizes(sizes)
    image.set_sform(sform, code=sform_code)
    if qform_code:
        image.set_qform(qform, code=qform_code)
    nib.save(image, path)


def save_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write indented JSON; NaN, which JSON does not know, becomes null."""
    path.write_text(json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _read(path: Path) -> tuple[np.ndarray, nib.Nifti1Header]:
    """Values without scaling, and the header; whatever the library raises becomes one line."""
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)  # to the end, where its checksum is
        kind = _kind(raw)
        header = kind.header_class.from_fileobj(BytesIO(raw))
        shape, dtype = header.get_data_shape(), header.get_data_dtype()
        _require_shape(shape)
        offset = int(header.get_data_offset())
        needed = offset + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if needed > len(raw):
            raise ValueError(f"its header promises {needed} bytes, shape {shape}, but it has {len(raw)}")
        header.get_slope_inter()
        image = kind.from_bytes(raw)
        # The header of the image has lost its slope to the array.
        return np.asarray(image.dataobj.get_unscaled()), header  # type: ignore[attr-defined]
    except InputError:
        raise
    except Exception as error:  # the boundary to a library that raises a dozen kinds
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"{path}: cannot be read as NIfTI, it is truncated, damaged or another format ({reason}); "
        "copy or convert it again"
    )


def _kind(raw: bytes) -> type[nib.Nifti1Image]:
    size = raw[:4]
    for kind, length in ((nib.Nifti1Image, 348), (nib.Nifti2Image, 540)):
        if size in (length.to_bytes(4, "little"), length.to_bytes(4, "big")):
            magic = raw[344:348] if length == 348 else raw[4:8]
            if not magic.startswith(b"n+"):
                raise ValueError("it is no single-file NIfTI")
            return kind
    raise ValueError("it does not begin as NIfTI does")


def _require_shape(shape: Sequence[int]) -> None:
    if not shape or min(shape) < 1:
        raise ValueError(f"its header says shape {tuple(shape)}")


def _scaled(unscaled: np.ndarray, header: nib.Nifti1Header) -> np.ndarray:
    slope, inter = header.get_slope_inter()
    target = np.complex64 if unscaled.dtype.kind == "c" else np.float32
    if (slope in (None, 1)) and not inter:
        return unscaled.astype(target, copy=False)
    wide = np.complex128 if unscaled.dtype.kind == "c" else np.float64
    with np.errstate(over="ignore", invalid="ignore"):
        return (unscaled.astype(wide) * slope + (inter or 0.0)).astype(target)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
