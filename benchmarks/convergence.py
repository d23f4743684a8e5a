"""``python -m benchmarks.convergence [FILE]``: error of χ against seconds, for solvers that iterate.

The head phantom at 2 mm, 3 T, SNR 100, 20° oblique; inversions are given the true local field with noise,
``ss_tv`` the total field. Every point is a run of its own to that many iterations, timed after
compilation. Draws ``results/convergence.png`` or FILE, and writes the numbers to ``results/convergence.md``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import jax
import matplotlib
import numpy as np

from benchmarks.record import RESULTS, write_page
from jaxqsm.evaluation import Trial, make_trial
from jaxqsm.methods import find_method
from jaxqsm.phantoms import head
from jaxqsm.simulation import Protocol
from jaxqsm.variational.common import referenced

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COUNTS = (3, 6, 12, 25, 50, 100)
TILT = np.deg2rad(20)
PROTOCOL = Protocol(voxel_size=(2.0, 2.0, 2.0), b0_dir=(0.0, float(np.sin(TILT)), float(np.cos(TILT))))
FFTS = {"tv": 4, "medi": 4, "l1_qsm": 4, "fansi_tv": 4, "tgv": 10, "ndi": 4, "ss_tv": 10}
"""Real transforms an iteration. One pair goes to χ's spectrum and back, for its gradients, in which the
penalty lives; one for every predicted field, which W weights voxel by voxel (``ss_tv``: four balls; ``tgv``:
three more for slopes). None can be spared while weights and penalty are local and the dipole is not."""


def main(arguments: list[str]) -> None:
    """Measure, draw and print."""
    path = Path(arguments[0]) if arguments else RESULTS / "convergence.png"
    scan = PROTOCOL.scan(head(PROTOCOL.phantom_voxel_size), key=jax.random.key(0))
    local, total = (
        make_trial(scan, PROTOCOL, stage=stage, key=jax.random.key(1))
        for stage in ("inversion", "single_step")
    )
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    lines = ["| method | real FFTs an iteration | " + " | ".join(f"{n} iterations" for n in COUNTS) + " |"]
    lines.append("| --- | --- |" + " --- |" * len(COUNTS))
    for name, transforms in FFTS.items():
        curve = [_point(name, total if name == "ss_tv" else local, count) for count in COUNTS]
        cells = [f"{error:.1f} % in {seconds:.1f} s" for seconds, error in curve]
        lines.append(f"| `{name}` | {transforms} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
        axes.plot(*zip(*curve, strict=True), "o-", label=name)
    axes.set(xscale="log", xlabel="seconds", ylabel="NRMSE of χ (%)", ylim=(15, 75))
    axes.legend()
    figure.savefig(path, dpi=110)
    picture = "![Error of χ against seconds](convergence.png)\n"
    write_page(
        "convergence", "Error of χ against seconds", "python -m benchmarks.convergence", picture, *lines
    )


def _point(name: str, trial: Trial, count: int) -> tuple[float, float]:
    stage = "single_step" if name == "ss_tv" else "inversion"
    method = find_method(stage, name)
    options = {"max_iterations": count, **method.fixed} | ({} if name == "ndi" else {"tolerance": 0.0})
    inputs = trial.field, trial.mask, trial.geometry

    def solve():
        found = method.function(*inputs, magnitude=trial.magnitude, **options)
        return jax.block_until_ready(found)

    solve()
    start = time.perf_counter()
    found = solve()
    seconds = time.perf_counter() - start
    chi, valid = found if stage == "single_step" else (found, trial.mask)
    truth = referenced(trial.truth * valid, valid)
    error = np.linalg.norm(referenced(chi, valid) - truth) / np.linalg.norm(truth)
    return seconds, 100 * float(error)


if __name__ == "__main__":
    main(sys.argv[1:])
