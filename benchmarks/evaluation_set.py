"""``python -m benchmarks.evaluation_set DIR [METHOD ...]``: inversions on a ``jaxqsm evaluation-set``.

Every method is given what perfect unwrapping and background removal would leave: the true local field with
the noise that the scan's magnitude and SNR make, and the magnitude as weights. The table is written in
Markdown to standard output, and as JSON beside the set; finished cells are not done again.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxqsm import metrics
from jaxqsm.evaluation import Trial
from jaxqsm.field_mapping import precision
from jaxqsm.inversion.common import referenced
from jaxqsm.io import find_scans, load, load_scan, save_json
from jaxqsm.pipeline import box_around, cut, find_method

DEFAULT = ("tkd", "tv", "medi", "l1_qsm", "learned")


def main(arguments: list[str]) -> None:
    """Score the methods on every scan and print the table."""
    if not arguments:
        sys.exit("usage: python -m benchmarks.evaluation_set DIR [METHOD ...]")
    folder, names = Path(arguments[0]), arguments[1:] or list(DEFAULT)
    record = folder / "inversions.json"
    scores = json.loads(record.read_text()) if record.exists() else {}
    for scan in find_scans(folder):
        label = scan.name
        missing = [name for name in names if name not in scores.setdefault(label, {})]
        if not missing:
            continue
        trial = _trial(folder, label, load_scan(scan.phase, scan.magnitude))
        for name in missing:
            scores[label][name] = _score(name, trial)
            save_json(record, scores)
            print(label, name, scores[label][name], file=sys.stderr, flush=True)
    print("| scan | " + " | ".join(names) + " |")
    print("| --- |" + " --- |" * len(names))
    for label, row in scores.items():
        cells = [f"{row[n]['nrmse']:.1f} / {row[n]['xsim']:.2f}" for n in names]
        print(f"| {label} | " + " | ".join(cells) + " |")


def _trial(folder: Path, label: str, scan) -> Trial:
    truth = folder / "derivatives" / "truth" / label / "anat"
    volumes = [
        load(truth / f"{label}_{suffix}.nii.gz").data
        for suffix in ("desc-local_fieldmap", "Chimap", "desc-brain_mask", "dseg")
    ]
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


def _score(name: str, trial: Trial) -> dict[str, float]:
    method = find_method("inversion", name)
    weights = {"magnitude": trial.magnitude} if method.takes_magnitude else {}
    start = time.perf_counter()
    chi = method.function(trial.local_field, trial.mask, trial.geometry, **weights)
    chi = jax.block_until_ready(chi)
    seconds = time.perf_counter() - start
    scores = metrics.summary(chi, trial.chi, trial.mask, trial.labels.astype(int))
    return {key: round(float(value), 4) for key, value in scores.items()} | {"seconds": round(seconds, 1)}


if __name__ == "__main__":
    main(sys.argv[1:])
