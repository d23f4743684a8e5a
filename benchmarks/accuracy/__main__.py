"""``python -m benchmarks.accuracy [METHOD ...]``: every inversion on the head phantom, scored as QSM-CI does.

Five scans: 3 T, axial, 1 mm, SNR 200, and four that differ from it in one thing each. Every method has
its defaults and is given the true local field with the scan's noise, and the magnitude as weights. Writes
``results.json`` and ``results.md`` beside this file; finished cells are not done again (about 25 minutes
on two cores when none is).
"""

from __future__ import annotations

import dataclasses
import sys
from functools import lru_cache, partial
from pathlib import Path

import jax
import numpy as np

from benchmarks.scoring import Scores, fill
from jaxqsm.evaluation import Trial, make_trial
from jaxqsm.phantoms import HeadPhantom, Protocol, head
from jaxqsm.pipeline import METHODS

FOLDER = Path(__file__).parent
BASE = Protocol(snr=200.0, oversampling=1)
OBLIQUE = (0.0, float(np.sin(np.deg2rad(25))), float(np.cos(np.deg2rad(25))))
SCANS = {
    "3 T, axial, 1 mm, SNR 200": BASE,
    "7 T": dataclasses.replace(BASE, field_strength=7.0),
    "25° oblique": dataclasses.replace(BASE, b0_dir=OBLIQUE),
    "1 × 1 × 2 mm": dataclasses.replace(BASE, voxel_size=(1.0, 1.0, 2.0)),
    "SNR 50": dataclasses.replace(BASE, snr=50.0),
}
COLUMNS = ("nrmse", "detrended_nrmse", "hfen", "xsim", "correlation", "slope", "regional_slope", "seconds")


def main(names: list[str]) -> None:
    """Fill the record, and write the tables of what it holds."""
    names = names or list(METHODS["inversion"])
    scores = fill(FOLDER / "results.json", {label: partial(_trial, p) for label, p in SCANS.items()}, names)
    (FOLDER / "results.md").write_text(_page(scores), encoding="utf-8")


def _page(scores: Scores) -> str:
    lines = ["# Inversions of the true local field of the head phantom", ""]
    lines += [
        "Made by `python -m benchmarks.accuracy`. NRMSE in percent, sorted by its mean over the scans.",
        "",
    ]
    names = sorted(
        {name for row in scores.values() for name in row},
        key=lambda name: np.mean([row[name]["nrmse"] for row in scores.values() if name in row]),
    )
    lines += ["| method | " + " | ".join(scores) + " |", "| --- |" + " --- |" * len(scores)]
    for name in names:
        cells = [f"{row[name]['nrmse']:.1f}" if name in row else "" for row in scores.values()]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    for label, row in scores.items():
        lines += ["", f"## {label}", "", "| method | " + " | ".join(COLUMNS) + " |"]
        lines.append("| --- |" + " --- |" * len(COLUMNS))
        for name in (n for n in names if n in row):
            cells = [f"{row[name][c]:.3g}" for c in COLUMNS]
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=1)
def _phantom(voxel_size: tuple[float, float, float], field_strength: float) -> HeadPhantom:
    return head(voxel_size, field_strength=field_strength)


def _trial(protocol: Protocol) -> Trial:
    phantom = _phantom(protocol.phantom_voxel_size, protocol.field_strength)
    return make_trial(jax.random.key(1), protocol.scan(jax.random.key(0), phantom), protocol)


if __name__ == "__main__":
    main(sys.argv[1:])
