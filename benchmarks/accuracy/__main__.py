"""``python -m benchmarks.accuracy [STAGE ...]``: every method on the head phantom, scored as QSM-CI does.

Five scans: 3 T, axial, 1 mm, SNR 200, and four that differ from it in one thing each. Every method has
its defaults, and the magnitude as weights. Inversions are given the true local field with the scan's noise;
background removal and single-step methods the true total field with it. Writes a JSON file a stage, and
``results.md`` of all of them, beside this file; finished cells are not done again (about an hour on two cores
when none is).
"""

from __future__ import annotations

import dataclasses
import json
import sys
from functools import lru_cache, partial
from pathlib import Path

import jax
import numpy as np

from benchmarks.scoring import Scores, fill
from jaxqsm.evaluation import Trial, make_trial
from jaxqsm.phantoms import HeadPhantom, Protocol, Scan, head
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
STAGES = {
    "inversion": "χ by inversion of the true local field",
    "background": "Local field by background removal from the true total field",
    "single_step": "χ from the true total field in a single step",
}
LONG = ("fine", "zero_shot", "deep_image_prior", "implicit_representation", "plug_and_play", "red")
"""Inversions by a network at work on each scan for minutes: :mod:`benchmarks.scan_fits` compares them."""

COLUMNS = ("nrmse", "detrended_nrmse", "hfen", "xsim", "correlation", "slope", "core", "valid", "seconds")


READING = """## Reading

- Inversions: `l1_qsm` and `medi` go before `tv`, as the one does not believe voxels that miss by much, and
  the other takes edges from the magnitude, which in this phantom are those of χ. `nltv` lets edges be
  without it. `tgv` and `fansi_tgv` have little to win where tissue is even. `tikhonov` is behind `tkd`
  although it is smoother: its quadratic penalty shrinks (slope 0.75), which NRMSE punishes more than
  streaks. `qsmnet_plus` knows axial scans of 1 mm alone.
- Background: compare `core`, and mind `valid`. `pdf`, `learned_background`, `msmv` and `polynomial` keep
  the border, where the background is strongest; `resharp` and `sharp` give it up. `msmv` and `sdf` take
  local field off with the background (slopes 0.5 and 0.75): one ball of 5 mm, Gaussians of at most 10 mm. A
  `polynomial` cannot follow the field of the sinuses. `harperella` asks that no mean over any ball be left,
  which is not true of tissue at the border. Tilted by 25°, methods that trust the border lose (`lbv`,
  `v_sharp`, `learned_background`) and `resharp`, which gives it up, gains: veins of the dura lie there, and
  whether their field looks like a background goes by their angle to the field.
- Single step: `ss_tv` compares χ with the field behind the filter that removes the background, so nothing
  that the filter took must be guessed. `tfi` is stopped by its 100 iterations, `tgv_qsm` by its 1 000,
  before what varies slowly has come back; `qsmart` loses that to its filter. `learned_single_step`
  adds one to four points of error to `ss_tv`, where it begins, at 1 mm, with a higher XSIM; trained at 0.8 to
  3 mm, it gains at 2 mm.
"""


def main(stages: list[str]) -> None:
    """Fill the records of the stages, or of all, and write the tables of what they hold."""
    unknown = set(stages) - set(STAGES)
    if unknown:
        sys.exit(f"unknown stage {sorted(unknown)[0]}; use {', '.join(STAGES)}")
    for label, protocol in SCANS.items():
        for stage in stages or STAGES:
            names = [name for name in METHODS[stage] if name not in LONG]
            fill(FOLDER / f"{stage}.json", {label: partial(_trial, stage, protocol)}, names, stage=stage)
            _write_page()


def _write_page() -> None:
    records = {stage: FOLDER / f"{stage}.json" for stage in STAGES}
    pages = [_tables(stage, json.loads(path.read_text())) for stage, path in records.items() if path.exists()]
    introduction = (
        "# Every method on the head phantom\n\nMade by `python -m benchmarks.accuracy`, with every method's "
        "defaults. NRMSE in percent, sorted by its mean over the scans; `valid` is the part of the mask that "
        "a method gives values for, which alone is scored; `core` is the NRMSE 6 mm within the mask; "
        "`seconds` include compilation, on two cores that did other work as well. Empty cells are not run "
        "yet.\n"
    )
    (FOLDER / "results.md").write_text("\n".join([introduction, READING, *pages]), encoding="utf-8")


def _tables(stage: str, scores: Scores) -> str:
    names = sorted(
        {name for row in scores.values() for name in row},
        key=lambda name: np.mean([row[name]["nrmse"] for row in scores.values() if name in row]),
    )
    lines = [f"## {STAGES[stage]}", "", "| method | " + " | ".join(scores) + " |"]
    lines.append("| --- |" + " --- |" * len(scores))
    for name in names:
        cells = [f"{row[name]['nrmse']:.1f}" if name in row else "" for row in scores.values()]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    for label, row in scores.items():
        lines += ["", f"### {label}", "", "| method | " + " | ".join(COLUMNS) + " |"]
        lines.append("| --- |" + " --- |" * len(COLUMNS))
        for name in (n for n in names if n in row):
            cells = [f"{row[name][c]:.3g}" if c in row[name] else "" for c in COLUMNS]
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=1)
def _phantom(voxel_size: tuple[float, float, float], field_strength: float) -> HeadPhantom:
    return head(voxel_size, field_strength=field_strength)


@lru_cache(maxsize=1)
def _scan(protocol: Protocol) -> Scan:
    phantom = _phantom(protocol.phantom_voxel_size, protocol.field_strength)
    return protocol.scan(jax.random.key(0), phantom)


def _trial(stage: str, protocol: Protocol) -> Trial:
    return make_trial(jax.random.key(1), _scan(protocol), protocol, stage=stage)


if __name__ == "__main__":
    main(sys.argv[1:])
