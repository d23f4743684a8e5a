"""Voxel grid of a file, and the order of axes in which every file is held in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import nibabel as nib
import numpy as np
from nibabel import orientations

from jaxqsm.geometry import Geometry
from jaxqsm.io.orientation import direction_from, geometry_from

SCANNER = 1
"""NIfTI code of a form that leads to the scanner's own axes, those of B0."""

ALIGNED = 2
"""NIfTI code of a form that leads to another image's axes; libraries also write it by default."""

SAME_DIRECTION = 0.5
"""Degrees by which the field directions of two forms may differ: headers round."""

MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
"""Length of a unit of ``xyzt_units`` in mm."""

Header = nib.Nifti1Header


@dataclasses.dataclass(frozen=True)
class Grid:
    """Voxel grid of an image in memory, whose axes run as nearly to the right, front and top as they can.

    Files store the same scan with axes in any order and sense. Everything between reading and writing is
    held in one order, so that no method can depend on storage; :meth:`stored` undoes it.

    Attributes:
        affine: voxel (in memory) to world coordinates in mm, 4×4.
        scanner: the same for the scanner's axes, along whose z the field points; None if no form says so.
        order: nibabel's orientation array from stored to held axes, 3×2.
        shape: of the file's three axes.
        forms: sform and qform of the file (voxel as stored to mm) and their codes.
        doubts: what in the header a careful person would check, one sentence each.
        said: what was recognised in the header, one sentence each.
    """

    affine: np.ndarray
    scanner: np.ndarray | None
    order: np.ndarray
    shape: tuple[int, int, int]
    forms: tuple[tuple[np.ndarray, int], tuple[np.ndarray, int]]
    doubts: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

    def held(self, data: np.ndarray) -> np.ndarray:
        """Reorder an array ``(x, y, z, …)`` of the file to the axes of memory."""
        return orientations.apply_orientation(data, self.order)

    def stored(self, data: np.ndarray) -> np.ndarray:
        """Reorder an array ``(x, y, z, …)`` in memory to the axes of the file."""
        axes = orientations.axcodes2ornt("RAS")
        return orientations.apply_orientation(data, orientations.ornt_transform(axes, self.order))

    def held_direction(self, direction: Sequence[float] | np.ndarray) -> np.ndarray:
        """Transform a direction from the file's voxel axes to those of memory."""
        held = np.empty(3)
        for axis, (target, sense) in enumerate(self.order):
            held[int(target)] = sense * direction[axis]
        return held

    def stored_direction(self, direction: Sequence[float] | np.ndarray) -> np.ndarray:
        """Transform a direction from the voxel axes of memory to the file's."""
        return np.array([sense * direction[int(target)] for target, sense in self.order])

    def stored_sizes(self, sizes: Sequence[float] | np.ndarray) -> np.ndarray:
        """Reorder lengths along the axes of memory to the order of the file's axes."""
        return np.array([sizes[int(target)] for target, _ in self.order])

    def geometry(
        self, *, b0_dir: Sequence[float] | np.ndarray | None = None, path: object = "image"
    ) -> Geometry:
        """Make the geometry: voxel size, and scanner z in voxel axes unless ``b0_dir`` is given.

        Args:
            b0_dir: direction in the voxel axes of the file, any length.
            path: file for messages.

        Raises:
            InputError: voxel axes not at right angles, or no direction.
        """
        given = None if b0_dir is None else self.held_direction(direction_from(b0_dir))
        source = self.affine if self.scanner is None else self.scanner
        return geometry_from(source, b0_dir=given, path=str(path))


def grid_of(header: Header, shape: Sequence[int], path: object) -> Grid:
    """Read the grid of a NIfTI header; units other than mm are converted.

    Where one form has the scanner's code and the other not, B0 lies along z of the former. Other
    disagreements are left as doubts.
    """
    unit = header.get_xyzt_units()[0]
    scale = np.diag([MM.get(unit, 1.0)] * 3 + [1.0])
    forms = []
    for name in ("sform", "qform"):
        found, code = getattr(header, f"get_{name}")(coded=True)
        forms.append((scale @ (np.eye(4) if found is None else np.asarray(found, float)), int(code)))
    (sform, sform_code), (qform, qform_code) = forms
    said, doubts = [], []
    if MM.get(unit, 1.0) != 1:
        said.append(f"{path}: its header is in {unit}s; lengths were converted to mm")
    if sform_code:
        affine = sform
    elif qform_code:
        affine = qform
    else:
        affine = scale @ np.asarray(header.get_best_affine(), float)
        doubts.append(
            f"{path}: its header has no orientation (sform and qform codes 0): the field is taken to point "
            "along the third axis; if it does not, pass --b0-dir X Y Z in voxel axes"
        )
    scanner: np.ndarray | None = affine if sform_code or qform_code else None
    if sform_code and qform_code:
        angle = angle_between(*(direction_of(form) for form in (sform, qform)))
        if angle > SAME_DIRECTION:
            differ = f"{path}: sform (code {sform_code}) and qform (code {qform_code}) differ by {angle:.1f}°"
            if (sform_code == SCANNER) != (qform_code == SCANNER):
                name, scanner = ("sform", sform) if sform_code == SCANNER else ("qform", qform)
                said.append(
                    f"{differ} in the field's direction; it is that of the {name}, whose code is the "
                    "scanner's"
                )
            else:
                doubts.append(
                    f"{differ} in the field's direction and no code tells which is the scanner's; that of "
                    "the sform is used; if it is wrong, pass --b0-dir X Y Z in voxel axes"
                )
    elif max(sform_code, qform_code) > ALIGNED:
        doubts.append(
            f"{path}: its only orientation is that of an atlas (code {sform_code or qform_code}); "
            "the field is taken to point along its z; if it does not, pass --b0-dir X Y Z in voxel axes"
        )
    if sform_code:
        sizes = np.linalg.norm(sform[:3, :3], axis=0)
        zooms = np.asarray(header.get_zooms()[:3], float) * scale[0, 0]
        if len(zooms) == 3 and not np.allclose(sizes, zooms, rtol=0.01):
            doubts.append(
                f"{path}: voxel size by its sform is {_by(sizes)} mm but by pixdim {_by(zooms)} mm; the "
                "former is used"
            )
    order = _order(affine)
    x, y, z = (int(n) for n in shape[:3])
    undo = orientations.inv_ornt_aff(order, (x, y, z))
    return Grid(
        affine=affine @ undo,
        scanner=None if scanner is None else scanner @ undo,
        order=order,
        shape=(x, y, z),
        forms=(forms[0], forms[1]),
        doubts=tuple(doubts),
        said=tuple(said),
    )


def grid_from(affine: np.ndarray, shape: Sequence[int]) -> Grid:
    """Make the grid of an array without a file from its 4×4 affine in mm."""
    header = nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), affine).header
    header.set_sform(affine, code=SCANNER)
    return grid_of(header, shape, "array")


def direction_of(affine: np.ndarray) -> np.ndarray:
    """Compute the unit vector of world z in voxel axes."""
    axes = affine[:3, :3] / np.maximum(np.linalg.norm(affine[:3, :3], axis=0), 1e-30)
    along = axes.T @ np.array([0.0, 0.0, 1.0])
    return along / max(float(np.linalg.norm(along)), 1e-30)


def angle_between(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """Measure the angle between two directions in degrees."""
    a, b = (np.asarray(v, float) / np.linalg.norm(v) for v in (first, second))
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


def _order(affine: np.ndarray) -> np.ndarray:
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) == 0:
        return np.array([[0, 1], [1, 1], [2, 1]])  # refused later, in words
    return np.asarray(orientations.io_orientation(affine))


def _by(sizes: np.ndarray) -> str:
    return " × ".join(f"{v:.4g}" for v in sizes)
