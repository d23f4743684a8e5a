"""The little of BIDS that susceptibility mapping needs: find scans, name derivatives."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from jaxqsm.io.errors import InputError
from jaxqsm.io.nifti import save_json

SUFFIXES = ("MEGRE", "T2starw", "GRE")
_PHASE = re.compile(
    rf"^(?P<stem>sub-.+)_part-phase(?P<rest>.*)_(?P<suffix>{'|'.join(SUFFIXES)})\.nii(\.gz)?$"
)
_ECHO = re.compile(r"_echo-(\d+)")


@dataclasses.dataclass(frozen=True)
class BidsScan:
    """The files of one multi-echo scan in a BIDS dataset.

    Attributes:
        name: entities without echo, part and suffix, e.g. ``sub-01_ses-1_run-2``.
        folder: relative to the dataset, e.g. ``sub-01/ses-1/anat``.
        phase: one file an echo (or one 4-D file), by echo number.
        magnitude: likewise; may be empty.
    """

    name: str
    folder: Path
    phase: tuple[Path, ...]
    magnitude: tuple[Path, ...]

    def mask_in(self, derivative: Path) -> Path | None:
        """A ``*_mask.nii[.gz]`` for this scan in the same folder of a derivative dataset.

        The most specific match wins: ``<name>[_…]_mask``, then session, then subject.

        Raises:
            InputError: several match equally well.
        """
        candidates = sorted((derivative / self.folder).glob("sub-*_mask.nii*"))
        entities = self.name.split("_")
        for length in range(len(entities), 0, -1):
            prefix = "_".join(entities[:length])
            fitting = [c for c in candidates if re.match(rf"{re.escape(prefix)}(_desc-\w+)?_mask\.", c.name)]
            if len(fitting) > 1:
                names = ", ".join(c.name for c in fitting)
                raise InputError(f"{derivative / self.folder}: several masks fit {self.name}: {names}")
            if fitting:
                return fitting[0]
        return None


def find_scans(dataset: Path, participants: Sequence[str] = ()) -> list[BidsScan]:
    """All gradient-echo scans with phase in ``sub-*/[ses-*/]anat``.

    Args:
        dataset: root of the BIDS dataset.
        participants: labels, with or without ``sub-``; default all.

    Raises:
        InputError: no such folder or participant, or no scan with phase.
    """
    if not dataset.is_dir():
        raise InputError(f"{dataset}: no such folder; give the root of a BIDS dataset")
    labels = [f"sub-{p.removeprefix('sub-')}" for p in participants]
    for label in labels:
        if not (dataset / label).is_dir():
            raise InputError(f"{dataset}: has no participant {label}; check --participant-label")
    subjects = labels or sorted(p.name for p in dataset.glob("sub-*") if p.is_dir())
    scans = []
    for subject in subjects:
        anat = [*dataset.glob(f"{subject}/anat"), *sorted(dataset.glob(f"{subject}/ses-*/anat"))]
        for folder in anat:
            scans += _scans_in(folder, dataset)
    if not scans:
        raise InputError(
            f"{dataset}: no phase images sub-*/[ses-*/]anat/*_part-phase_{{{','.join(SUFFIXES)}}}"
            ".nii[.gz] found; see the BIDS specification on part-phase"
        )
    return scans


def _scans_in(folder: Path, dataset: Path) -> list[BidsScan]:
    groups: dict[tuple[str, str], list[tuple[int, Path]]] = {}
    for path in sorted(folder.iterdir()):
        match = _PHASE.match(path.name)
        if match:
            stem = match["stem"] + match["rest"]
            echo = _ECHO.search(stem)
            key = (_ECHO.sub("", stem), match["suffix"])
            groups.setdefault(key, []).append((int(echo[1]) if echo else 0, path))
    scans = []
    for (name, _), members in sorted(groups.items()):
        phase = tuple(path for _, path in sorted(members))
        beside = [p.with_name(p.name.replace("_part-phase", "_part-mag")) for p in phase]
        magnitude = tuple(p for p in beside if p.is_file())
        scans.append(BidsScan(name, folder.relative_to(dataset), phase, magnitude))
    return scans


def write_dataset_description(folder: Path, *, name: str, version: str, derivative: bool) -> None:
    """``dataset_description.json`` of a dataset that jaxqsm writes."""
    content = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative" if derivative else "raw",
        "GeneratedBy": [{"Name": "jaxqsm", "Version": version}],
    }
    save_json(folder / "dataset_description.json", content)
