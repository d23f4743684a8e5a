"""DICOM folders, by dcm2niix, which knows what each manufacturer writes."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxqsm.io.errors import InputError
from jaxqsm.io.sidecar import sidecar_of

SUFFIXES = {"_ph": "phase", "_real": "real", "_imaginary": "imaginary"}
"""That dcm2niix appends to the names of parts other than the magnitude."""


@dataclasses.dataclass(frozen=True)
class SignalFiles:
    """Files of the parts of a signal, one 4-D file or one 3-D file an echo; empty where there are none."""

    phase: tuple[Path, ...] = ()
    magnitude: tuple[Path, ...] = ()
    real: tuple[Path, ...] = ()
    imaginary: tuple[Path, ...] = ()


@contextmanager
def converted(folder: Path) -> Iterator[SignalFiles]:
    """Convert one scan of a DICOM folder to NIfTI files by part, which exist within the block.

    Args:
        folder: searched with its subfolders: classic or enhanced DICOM of one multi-echo scan.

    Yields:
        Phase and magnitude, or real and imaginary parts.

    Raises:
        InputError: dcm2niix is not installed or finds nothing; no phase; more than one scan.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a folder of DICOM files to --dicom")
    if importlib.util.find_spec("dcm2niix") is None:
        raise InputError("--dicom: dcm2niix is not installed: pip install 'jaxqsm[dicom]'")
    program = importlib.import_module("dcm2niix").bin
    with tempfile.TemporaryDirectory(prefix="jaxqsm-dicom-") as target:
        command = [program, "-b", "y", "-ba", "y", "-z", "n", "-f", "%s_e%e", "-o", target, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        files = sorted(Path(target).glob("*.nii"))
        if not files:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise InputError(
                f"{folder}: dcm2niix finds no images in it ({said[-1] if said else 'no message'}); give the "
                "folder of one scan's DICOM files"
            )
        yield _of_one_scan(folder, files)


def _of_one_scan(folder: Path, files: list[Path]) -> SignalFiles:
    parts: dict[str, list[Path]] = {"magnitude": [], "phase": [], "real": [], "imaginary": []}
    times: dict[str, list[float]] = {part: [] for part in parts}
    for path in files:
        sidecar = sidecar_of(path)
        part = sidecar.says_it_is() or next(
            (part for suffix, part in SUFFIXES.items() if suffix in path.stem), "magnitude"
        )
        echo = sidecar.numbers("EchoTime")
        if not echo:
            continue  # a localiser or a screenshot
        if set(echo) & set(times[part]):
            raise InputError(
                f"{folder}: holds several scans (two {part} images of echo time {echo[0]:g} s); give "
                "the folder of one"
            )
        parts[part].append(path)
        times[part] += echo
    if parts["phase"]:
        return SignalFiles(tuple(parts["phase"]), tuple(parts["magnitude"]))
    if parts["real"] and parts["imaginary"]:
        return SignalFiles(real=tuple(parts["real"]), imaginary=tuple(parts["imaginary"]))
    found = (
        ", ".join(f"{len(paths)} {part}" for part, paths in parts.items() if paths)
        or "none with an echo time"
    )
    raise InputError(
        f"{folder}: holds no phase images (found: {found}); export the phase series too, or real and "
        "imaginary ones"
    )
