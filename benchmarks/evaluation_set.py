"""``python -m benchmarks.evaluation_set DIR [METHOD ...]``: inversions on a ``jaxqsm evaluation-set``.

Every method is given what perfect unwrapping and background removal would leave: the true local field with
the noise that the scan's magnitude and SNR make, and the magnitude as weights. The table is written to
``results/evaluation_set.md``, and the scores as JSON beside the set; finished cells are not done again.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.record import write_page
from benchmarks.scoring import fill
from jaxqsm.evaluation import EvaluationScan, Trial
from jaxqsm.field_mapping import precision
from jaxqsm.io import BidsScan, find_scans, load, load_scan
from jaxqsm.pipeline import box_around, cut
from jaxqsm.variational.common import referenced

DEFAULT = ("tkd", "tv", "medi", "l1_qsm", "learned")


def main(arguments: list[str]) -> None:
    """Score the methods on every scan and print the table."""
    if not arguments:
        sys.exit("usage: python -m benchmarks.evaluation_set DIR [METHOD ...]")
    folder, names = Path(arguments[0]), arguments[1:] or list(DEFAULT)
    scores = fill(folder / "inversions.json", trials(folder), names)
    lines = [
        "| scan | " + " | ".join(f"`{name}`" for name in names) + " |",
        "| --- |" + " --- |" * len(names),
    ]
    for label, row in scores.items():
        cells = [f"{row[n]['nrmse']:.1f} / {row[n]['xsim']:.2f}" for n in names]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    print("\n".join(lines))
    if names == list(DEFAULT):
        reading = "True local field with the scan's noise, defaults; NRMSE in percent / XSIM.\n"
        command = "python -m benchmarks.evaluation_set DIR"
        write_page("evaluation_set", "Inversions on the evaluation set", command, reading, *lines)


def trials(folder: Path) -> dict[str, Callable[[], Trial]]:
    """By its name, how every scan of a set is made into a trial."""
    return {scan.name: partial(_trial, folder, scan) for scan in find_scans(folder)}


def truth(folder: Path, label: str, *suffixes: str) -> list[np.ndarray]:
    """Volumes of the truth of a scan of a set."""
    anat = folder / "derivatives" / "truth" / label / "anat"
    return [load(anat / f"{label}_{suffix}.nii.gz").data for suffix in suffixes]


def with_long_voxels(scan: EvaluationScan) -> EvaluationScan:
    """The scan with voxels twice as long, formed at its own resolution: so that all methods take minutes."""
    x, y, z = (2 * length for length in scan.protocol.voxel_size)
    return dataclasses.replace(
        scan, protocol=dataclasses.replace(scan.protocol, voxel_size=(x, y, z), oversampling=2)
    )


def _trial(folder: Path, files: BidsScan) -> Trial:
    label, scan = files.name, load_scan(files.phase, files.magnitude)
    volumes = truth(folder, label, "desc-local_fieldmap", "Chimap", "desc-brain_mask", "dseg")
    box = box_around(volumes[2] > 0)
    local, chi, mask, labels = (jnp.asarray(cut(v, box)) for v in volumes)
    inside = mask > 0
    magnitude = jnp.asarray(cut(scan.magnitude, box))
    sidecar = json.loads(scan.files[0].with_name(scan.files[0].name.replace(".nii.gz", ".json")).read_text())
    level = jnp.sum(inside * magnitude[..., 0]) / inside.sum()
    sure = precision(magnitude, scan.acquisition)
    noise = level / sidecar["SNR"] / jnp.maximum(sure, 1e-3 * sure.max())
    noise = noise * jax.random.normal(jax.random.key(0), local.shape)
    weights = jnp.sqrt(jnp.sum(magnitude**2, axis=-1))
    return Trial(
        (local + noise) * inside, inside, weights * inside, scan.geometry, referenced(chi, inside), labels
    )


if __name__ == "__main__":
    main(sys.argv[1:])
