"""A simulated scan as a BIDS dataset: raw images as a scanner gives them, truth as a derivative."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Array

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.io.bids import BidsScan, write_dataset_description
from jaxqsm.io.nifti import save, save_json
from jaxqsm.io.orientation import affine_from
from jaxqsm.phantoms import Tissue
from jaxqsm.simulation import Scan

TRUTH = Path("derivatives/truth")


def write_simulation(
    folder: Path,
    scan: Scan,
    geometry: Geometry,
    acquisition: Acquisition,
    *,
    subject: str,
    version: str,
    parameters: Mapping[str, object],
) -> BidsScan:
    """Write ``sub-<subject>`` into ``folder``: part-mag and part-phase MEGRE with sidecars; χ, fields,
    mask and labels under ``derivatives/truth``.

    The affine is tilted so that scanner z is the field direction, as of an oblique acquisition.

    Args:
        folder: dataset root; exists.
        scan: signal and ground truth.
        geometry: voxel size and field direction.
        acquisition: echo times and field strength.
        subject: label without ``sub-``.
        version: of jaxqsm.
        parameters: further entries for the sidecars (SNR, seed …).

    Returns:
        The scan's files, as :func:`~jaxqsm.io.find_scans` would find them.
    """
    name = f"sub-{subject}"
    relative = Path(name) / "anat"
    anat, truth = folder / relative, folder / TRUTH / relative
    anat.mkdir(parents=True, exist_ok=True)
    truth.mkdir(parents=True, exist_ok=True)
    extent = np.multiply(np.asarray(geometry.voxel_size), np.subtract(scan.mask.shape, 1))
    affine = affine_from(geometry, scan.mask.shape, centre=scan.origin + extent / 2)
    signal = np.asarray(scan.signal)
    volumes: dict[Path, np.ndarray] = {}
    files: dict[str, list[Path]] = {"mag": [], "phase": []}
    for echo, time in enumerate(np.asarray(acquisition.echo_times)):
        sidecar = {
            "EchoTime": round(float(time), 9),
            "EchoNumber": echo + 1,
            "MagneticFieldStrength": float(acquisition.field_strength),
            "Manufacturer": "simulated by jaxqsm",
            **parameters,
        }
        parts = {"mag": np.abs(signal[..., echo]), "phase": np.angle(signal[..., echo])}
        for part, image in parts.items():
            stem = f"{name}_echo-{echo + 1}_part-{part}_MEGRE"
            units = {"Units": "rad"} if part == "phase" else {"Units": "arbitrary"}
            volumes[anat / f"{stem}.nii.gz"] = image
            save_json(anat / f"{stem}.json", sidecar | units)
            files[part].append(anat / f"{stem}.nii.gz")
    maps: dict[str, tuple[Array, dict[str, object]]] = {
        "Chimap": (scan.chi, {"Units": "ppm", "Reference": "water"}),
        "desc-total_fieldmap": (scan.total_field, {"Units": "ppm"}),
        "desc-local_fieldmap": (scan.local_field, {"Units": "ppm", "Sources": "χ inside the mask"}),
    }
    for suffix, (true, description) in maps.items():
        volumes[truth / f"{name}_{suffix}.nii.gz"] = np.asarray(true)
        save_json(truth / f"{name}_{suffix}.json", description)
    volumes[truth / f"{name}_desc-brain_mask.nii.gz"] = scan.mask
    volumes[truth / f"{name}_dseg.nii.gz"] = scan.labels
    with ThreadPoolExecutor() as threads:  # compression is most of the time, and lets others run
        list(threads.map(lambda path: save(path, volumes[path], affine), volumes))
    rows = [f"{tissue.value}\t{tissue.name.lower()}" for tissue in Tissue]
    (truth / f"{name}_dseg.tsv").write_text("index\tname\n" + "\n".join(rows) + "\n")
    write_dataset_description(folder, name="jaxqsm simulation", version=version, derivative=False)
    write_dataset_description(folder / TRUTH, name="jaxqsm truth", version=version, derivative=True)
    (folder / "README").write_text(
        "Simulated multi-echo gradient-echo scans by jaxqsm. The truth lies in derivatives/truth.\n"
    )
    return BidsScan(name, relative, tuple(files["phase"]), tuple(files["mag"]))
