"""The little of BIDS that susceptibility mapping needs: find scans, name derivatives."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from jaxqsm.io.errors import InputError
from jaxqsm.io.nifti import save_json
from jaxqsm.io.sidecar import stem_of

SUFFIXES = ("MEGRE", "T2starw", "GRE")
"""BIDS suffixes of gradient-echo scans."""

PARTS = ("phase", "mag", "real", "imag")

_IMAGE = re.compile(rf"^(?P<entities>sub-[^_]+(_[^_]+-[^_]+)*)_(?P<suffix>{'|'.join(SUFFIXES)})\.nii(\.gz)?$")


@dataclasses.dataclass(frozen=True)
class BidsScan:
    """The files of one multi-echo scan in a BIDS dataset.

    Attributes:
        name: entities without echo and part, e.g. ``sub-01_ses-1_run-2``; with ``_acq-…`` of the suffix where
            another suffix has the same entities.
        folder: relative to the dataset, e.g. ``sub-01/ses-1/anat``.
        phase: one file an echo (or one 4-D file), by echo number; empty where the scan has its two parts.
        magnitude: likewise; may be empty.
        real: likewise, in place of the two above.
        imaginary: likewise.
    """

    name: str
    folder: Path
    phase: tuple[Path, ...] = ()
    magnitude: tuple[Path, ...] = ()
    real: tuple[Path, ...] = ()
    imaginary: tuple[Path, ...] = ()

    def mask_in(self, derivative: Path) -> Path | None:
        """Find a ``*_mask.nii[.gz]`` for this scan in the same folder of a derivative dataset.

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
    """Find gradient-echo scans with phase, or real and imaginary parts, in ``sub-*/[ses-*/]anat``.

    Magnitude images may lack ``part-mag``. Of one image as ``.nii`` and ``.nii.gz`` the latter is used.

    Args:
        dataset: root of the BIDS dataset.
        participants: labels, with or without ``sub-``; default all.

    Raises:
        InputError: no such folder or participant, a label that is none, or no scan with phase.
    """
    if not dataset.is_dir():
        raise InputError(f"{dataset}: no such folder; give the root of a BIDS dataset")
    labels = [f"sub-{p.removeprefix('sub-')}" for p in participants]
    for label in labels:
        if not re.fullmatch(r"sub-[0-9A-Za-z+]+", label):
            raise InputError(f"--participant-label {label}: labels are letters and digits")
        if not (dataset / label).is_dir():
            raise InputError(f"{dataset}: has no participant {label}; check --participant-label")
    subjects = labels or sorted(p.name for p in dataset.glob("sub-*") if p.is_dir())
    scans, seen = [], set()
    for subject in subjects:
        anat = [*dataset.glob(f"{subject}/anat"), *sorted(dataset.glob(f"{subject}/ses-*/anat"))]
        for folder in anat:
            found, parts = _scans_in(folder, dataset)
            scans += found
            seen |= parts
    if not scans:
        only = f"; only these parts were seen: {', '.join(sorted(seen))}" if seen else ""
        raise InputError(
            f"{dataset}: no phase images sub-*/[ses-*/]anat/*_part-phase_{{{','.join(SUFFIXES)}}}"
            f".nii[.gz] found, nor part-real with part-imag{only}; see the BIDS specification on the "
            "part entity"
        )
    return scans


def _scans_in(folder: Path, dataset: Path) -> tuple[list[BidsScan], set[str]]:
    """Scans of a folder, and the parts that are there."""
    groups: dict[tuple[str, str], dict[str, dict[int, Path]]] = {}
    for path in sorted(folder.iterdir()):
        match = _IMAGE.match(path.name)
        if not match:
            continue
        entities = dict(e.split("-", 1) for e in match["entities"].split("_"))
        part = entities.pop("part", "mag")
        echo = entities.pop("echo", "0")
        if part not in PARTS or not echo.isdigit():
            continue
        name = "_".join(f"{key}-{value}" for key, value in entities.items())
        echoes = groups.setdefault((name, match["suffix"]), {}).setdefault(part, {})
        twin = echoes.get(int(echo))
        if twin is not None and stem_of(twin) != stem_of(path):
            raise InputError(f"{path}: and {twin.name} are the same part and echo; keep one")
        echoes[int(echo)] = path  # .nii.gz sorts after .nii
    scans = []
    for (name, suffix), parts in sorted(groups.items()):
        paths = {part: tuple(echoes[e] for e in sorted(echoes)) for part, echoes in parts.items()}
        others = [s for n, s in groups if n == name and s != suffix]
        told_apart = f"{name}_acq-{suffix}" if others and "_acq-" not in name else name
        if others and "_acq-" in name:
            told_apart = re.sub(r"(_acq-[^_]+)", rf"\g<1>{suffix}", name)
        relative = folder.relative_to(dataset)
        if "phase" in paths:
            magnitude = tuple(parts.get("mag", {}).get(e) for e in sorted(parts["phase"]))
            whole = tuple(p for p in magnitude if p is not None) or paths.get("mag", ())
            scans.append(BidsScan(told_apart, relative, paths["phase"], whole))
        elif "real" in paths and "imag" in paths:
            scans.append(BidsScan(told_apart, relative, real=paths["real"], imaginary=paths["imag"]))
    return scans, {part for parts in groups.values() for part in parts}


def write_dataset_description(folder: Path, *, name: str, version: str, derivative: bool) -> None:
    """Write the ``dataset_description.json`` of a dataset that jaxqsm writes."""
    content = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative" if derivative else "raw",
        "GeneratedBy": [{"Name": "jaxqsm", "Version": version}],
    }
    save_json(folder / "dataset_description.json", content)
