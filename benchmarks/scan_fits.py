"""``python -m benchmarks.scan_fits [--set DIR] [METHOD ...]``: fits to one scan beside other inversions.

The scans of the evaluation set with voxels twice as long, so that networks can be fitted to each of them on a
CPU; and, from the folder that ``jaxqsm evaluation-set`` wrote, the scans as they are, in the order of the set
for as long as one waits. Every method has its defaults, the true local field with the scan's noise, and the
magnitude; after some is written that they choose their weight. Each runs in a process of its own, whose
seconds hold compilation and whose peak of memory holds data, libraries and compiler. Writes
``scan_fits.json`` and ``scan_fits.md`` in ``results/``; finished cells are not done again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks import evaluation_set
from benchmarks.record import RESULTS
from jaxqsm import metrics
from jaxqsm.evaluation import EVALUATION_SCANS, EvaluationScan, Trial, make_trial
from jaxqsm.geometry import Geometry
from jaxqsm.io import save_json
from jaxqsm.methods import METHODS
from jaxqsm.uncertainty import cone_energy, coverage, deep_ensemble, diffusion
from jaxqsm.variational.common import referenced

RECORD = RESULTS / "scan_fits.json"
PAGE = RESULTS / "scan_fits.md"
COARSE, FULL = "Voxels twice as long", "The set as it is"
NAMES = (
    "tv",
    "medi",
    "l1_qsm",
    "learned",
    "fine",
    "zero_shot",
    "implicit_representation",
    "deep_image_prior",
    "plug_and_play",
    "red",
    "diffusion",
    "deep_ensemble",
)
INTRODUCTION = """# Fits to one scan, beside classical and trained inversions

NRMSE in percent on the evaluation set: all of it with voxels twice as long, so that networks can be fitted to
each scan on a CPU, and its reference as it is. Every method has its defaults, the true local field with the
scan's noise, and the magnitude. Made by
`python -m benchmarks.scan_fits` (with `--set DIR` for the set as it is), each in a process of its own on one
core beside other work; seconds (with compilation) and memory (with libraries) are those of the first scan.
Empty cells are not run.
"""

READING = """## Reading

- The network that was trained is the most accurate on all scans but the noisy one. Fitting it further to the
  scan, by all voxels (`fine`) or by those it was not shown (`zero_shot`), does not help where scans are like
  its training.
- `implicit_representation` has never seen another scan, and is as good as the best classical method.
- `deep_image_prior` starts from a network that knows nothing, and stops where held-out voxels say so: on a
  CPU it is both the slowest and, of the fits, the least accurate.
- `diffusion` draws samples; their mean is scored. Its nominal 90 % intervals held 67 to 81 % of the voxels
  where voxels are twice as long.
- `deep_ensemble` is the mean of four small networks, each shown the field with more noise; its intervals hold
  79 to 90 % of the voxels.
- Not in the table: χ from the complex signal (`signal_fits.md`), and a network trained on fields alone, which
  comes back to its classical start (`docs/networks.md`).
- Denoisers (`plug_and_play`, `red`, `diffusion`) leave more of the error near the magic-angle cone: what
  varies slowly there they cannot judge from 60 voxels around. They have neither edges nor the magnitude's.
"""

Scores = dict[str, float]
Table = dict[str, dict[str, Scores]]
"""By scan, by method."""


def main() -> None:
    """Fill the record for the methods, or for all, and write the page; or score one trial of a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan_fits", description=__doc__)
    parser.add_argument(
        "--set", type=Path, metavar="DIR", help="of jaxqsm evaluation-set: its scans as they are"
    )
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("methods", nargs="*", default=list(NAMES))
    given = parser.parse_args()
    if given.one:
        print(json.dumps(_score(given.methods[0], given.one)))
        return
    record: dict[str, Table] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    trials: dict[str, Callable[[], Trial]] = {scan.name: partial(_coarse, scan) for scan in EVALUATION_SCANS}
    _fill(record, COARSE, trials, given.methods)
    if given.set:
        found = evaluation_set.trials(given.set)
        whole = {scan.name: found[f"sub-{scan.name}"] for scan in EVALUATION_SCANS}
        _fill(record, FULL, whole, given.methods)


def _fill(
    record: dict[str, Table], part: str, trials: Mapping[str, Callable[[], Trial]], names: Sequence[str]
) -> None:
    table = record.setdefault(part, {})
    for label, make in trials.items():
        row = table.setdefault(label, {})
        missing = [name for name in names if name not in row]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trial.npz"
            _save(path, make())
            for name in missing:
                command = [sys.executable, "-m", "benchmarks.scan_fits", "--one", str(path), name]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                row[name] = json.loads(done.stdout.splitlines()[-1])
                save_json(RECORD, record)
                print(part, label, name, row[name], file=sys.stderr, flush=True)
                _write_page(record)


def _coarse(scan: EvaluationScan) -> Trial:
    coarse = evaluation_set.with_long_voxels(scan)
    clean = dataclasses.replace(coarse.protocol, snr=float("inf")).scan(coarse.phantom(), key=scan.key)
    return make_trial(clean, coarse.protocol, key=jax.random.fold_in(scan.key, 1))


def _save(path: Path, trial: Trial) -> None:
    np.savez(
        path,
        field=trial.field,
        mask=trial.mask,
        magnitude=trial.magnitude,
        truth=trial.truth,
        voxel_size=trial.geometry.voxel_size,
        b0_dir=trial.geometry.b0_dir,
    )


def _score(name: str, path: Path) -> Scores:
    with np.load(path) as file:
        given = {key: jnp.asarray(value) for key, value in file.items()}
    field, mask = given["field"], given["mask"]
    geometry = Geometry(given["voxel_size"], given["b0_dir"])
    truth = referenced(given["truth"], mask)
    start = time.perf_counter()
    found: Any = _function(name)(field, mask, geometry, magnitude=given["magnitude"])
    chi = jax.block_until_ready(found if isinstance(found, Array) else found.mean)
    seconds = time.perf_counter() - start
    (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    scores = {
        "nrmse": float(metrics.nrmse(chi, truth, mask)),
        "xsim": float(metrics.xsim(chi, truth, mask)),
        "cone": float(cone_energy(chi - truth, mask, geometry)),
        "seconds": seconds,
        "gib": int(line.split()[1]) / 1024**2,
    }
    if not isinstance(found, Array):
        scores["coverage"] = float(coverage(chi - truth, found.standard_deviation, mask))
    return {key: round(value, 4) for key, value in scores.items()}


def _function(name: str) -> Callable[..., Any]:
    if name == "diffusion":
        return partial(diffusion, key=jax.random.key(0))
    if name == "deep_ensemble":
        return deep_ensemble
    function: Callable[..., Any] = METHODS["inversion"][name].function
    return function


def _write_page(record: dict[str, Table]) -> None:
    parts = [f"## {part}\n\n{_table(table)}" for part, table in record.items()]
    PAGE.write_text("\n".join([INTRODUCTION, *parts, READING]), encoding="utf-8")


def _table(table: Table) -> str:
    """One row a method; cells that are not run yet are empty, scans of which none is are left out."""
    scans = [scan for scan, row in table.items() if row]
    first = table[scans[0]]
    heads = ["method", *scans, "mean NRMSE", "mean XSIM", "error near the cone", "seconds", "GiB"]
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " --- |" * (len(heads) - 1)]
    for name in (name for name in dict.fromkeys((*NAMES, *first)) if name in first):
        cells = [table[scan].get(name) for scan in scans]
        known = [cell for cell in cells if cell]
        mean = {key: np.mean([cell[key] for cell in known]) for key in ("nrmse", "xsim", "cone")}
        values = [f"{cell['nrmse']:.1f}" if cell else "" for cell in cells]
        means = [f"{mean['nrmse']:.1f}", f"{mean['xsim']:.2f}", f"{100 * mean['cone']:.0f} %"]
        values += means if len(known) == len(cells) else ["", "", ""]
        values += [f"{first[name]['seconds']:.0f}", f"{first[name]['gib']:.1f}"]
        lines.append(f"| `{name}` | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
