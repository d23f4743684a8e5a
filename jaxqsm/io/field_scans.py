"""Folders of fields with the maps that belong to them, as networks are trained on."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from jaxqsm.geometry import Geometry
from jaxqsm.io.errors import InputError
from jaxqsm.io.nifti import Image, finite_within, load, load_mask, require_same_grid
from jaxqsm.io.scan import direction_of_field
from jaxqsm.io.sidecar import sidecar_of, stem_of

Role = Literal["local_field", "total_field", "chi", "mask", "magnitude"]

ENDINGS: dict[Role, tuple[str, ...]] = {
    "local_field": ("localfield", "desc-local_fieldmap"),
    "total_field": ("totalfield", "desc-total_fieldmap"),
    "chi": ("chimap",),
    "mask": ("desc-valid_mask", "desc-brain_mask", "mask"),
    "magnitude": ("magnitude",),
}
"""Ends of the names of files by what they hold, as ``jaxqsm run``, ``bids`` and ``simulate`` write them and
the QSM-CI contract names them; upper and lower case are alike, and the first of several counts."""


class FieldScan(NamedTuple):
    """Files of one scan: a field, and what belongs to it.

    Attributes:
        subject: person that it is of, as far as the names tell.
        name: folder and beginning of the file names, for messages.
        files: by what they hold.
    """

    subject: str
    name: str
    files: dict[Role, Path]


class FieldVolumes(NamedTuple):
    """Arrays of one scan in the units of the library, ``(x, y, z)``.

    Attributes:
        volumes: by what they hold, fields and χ in ppm; zero outside the mask.
        mask: where they are valid.
        geometry: voxel size and field direction.
    """

    volumes: dict[Role, np.ndarray]
    mask: np.ndarray
    geometry: Geometry


def find_field_scans(folder: Path, field: Role) -> list[FieldScan]:
    """Find the scans of a folder, at any depth, that have a field of one kind.

    Files of a scan lie in one folder and have names that begin alike and end as :data:`ENDINGS` says: a
    folder of ``sub-1_desc-local_fieldmap.nii.gz``, ``sub-1_Chimap.nii.gz``, ``sub-1_mask.nii.gz``, or folders
    of ``localfield.nii.gz``, ``chimap.nii.gz``, ``mask.nii.gz``. The subject is the BIDS entity ``sub-``, or
    else the folder of the first level, or else the beginning of the name.

    Args:
        folder: to search.
        field: ``"local_field"`` or ``"total_field"``.

    Raises:
        InputError: no such folder, no such field in it, a scan without a mask, or one file twice.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found: dict[tuple[Path, str], dict[Role, tuple[int, Path]]] = defaultdict(dict)
    for path in sorted(folder.rglob("*.nii*")):
        if not path.name.endswith((".nii", ".nii.gz")) or path.name.startswith("."):
            continue
        recognised = _recognise(stem_of(path))
        if recognised is None:
            continue
        role, rank, beginning = recognised
        files = found[path.parent, beginning]
        rank_before, before = files.get(role, (rank + 1, path))
        if rank_before == rank:
            raise InputError(f"{before} and {path}: hold the same; remove one")
        if rank < rank_before:
            files[role] = rank, path
    scans = []
    for (place, beginning), ranked in found.items():
        chosen = {role: path for role, (_, path) in ranked.items()}
        if field not in chosen:
            continue
        if "mask" not in chosen:
            ending = f"{beginning}_mask" if beginning else "mask"
            raise InputError(f"{chosen[field]}: has no mask; add {place / ending}.nii.gz")
        name = str(place / beginning) if beginning else str(place)
        scans.append(FieldScan(_subject(place.relative_to(folder), beginning, folder), name, chosen))
    if not scans:
        endings = " or ".join(f"{ending}.nii.gz" for ending in ENDINGS[field])
        raise InputError(
            f"{folder}: holds no {field.replace('_', ' ')}: no file whose name ends in {endings}"
        )
    return scans


def load_field_scan(scan: FieldScan) -> FieldVolumes:
    """Load the volumes of a scan.

    Raises:
        InputError: one cannot be read, is not 3-D, is on another grid, or has NaN within the mask.
    """
    mask = load_mask(scan.files["mask"])
    volumes: dict[Role, np.ndarray] = {}
    image: Image | None = None
    for role, path in scan.files.items():
        if role == "mask":
            continue
        image = load(path, keep_nonfinite=True)
        if image.data.ndim != 3:
            raise InputError(f"{path}: needs 3 dimensions, this has {image.data.ndim}")
        require_same_grid(mask, image)
        volumes[role] = finite_within(image, mask.data, replace=False).data * mask.data
    of_field = scan.files.get("local_field", scan.files.get("total_field"))
    if of_field is None or image is None:
        raise InputError(f"{scan.name}: has no field")
    geometry, _, _ = direction_of_field(image, [sidecar_of(of_field)], None)
    return FieldVolumes(volumes, mask.data, geometry)


def _recognise(stem: str) -> tuple[Role, int, str] | None:
    """Content of a file, rank of its ending, and beginning of its name."""
    for role, endings in ENDINGS.items():
        for rank, ending in enumerate(endings):
            if stem.lower() == ending:
                return role, rank, ""
            if stem.lower().endswith("_" + ending):
                return role, rank, stem[: -len(ending) - 1]
    return None


def _subject(place: Path, beginning: str, folder: Path) -> str:
    for part in (*place.parts, beginning):
        if entity := re.match(r"sub-[A-Za-z0-9]+", part):
            return entity.group()
    return place.parts[0] if place.parts else beginning or folder.name
