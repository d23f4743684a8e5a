"""``python -m benchmarks.accuracy [STAGE ...]``: every method on simulated scans, by the metrics of QSM-CI.

The head phantom at 3 and 7 T, axial and 25° oblique, at 1 mm and 1 × 1 × 2 mm, with an SNR of 200 and 50: all
sixteen; and the cylinders of the package ``qsm-forward``, whose field is that package's. Every method has its
defaults, and the magnitude as weights. Inversions are given the true local field with the scan's noise;
background removal and single-step methods the true total field with it. Writes a JSON file and a page a
stage, and ``results.md`` with the sum of them, in ``results/accuracy``; finished cells are not done
again (about three hours on two cores when none is).
"""

from __future__ import annotations

import dataclasses
import json
import sys
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from qsm_forward import generate_field, generate_susceptibility_phantom

from benchmarks.record import RESULTS
from benchmarks.scoring import LONG, Scores, fill
from jaxqsm.evaluation import Trial, make_trial
from jaxqsm.methods import METHODS
from jaxqsm.phantoms import HeadPhantom, head
from jaxqsm.phantoms.tissues import AIR_CHI
from jaxqsm.physics import gre_signal
from jaxqsm.simulation import Protocol, Scan

FOLDER = RESULTS / "accuracy"
BASE = Protocol(snr=200.0, oversampling=1)
OBLIQUE = (0.0, float(np.sin(np.deg2rad(25))), float(np.cos(np.deg2rad(25))))
CYLINDERS = "cylinders"
SCANS = {
    f"{strength:g} T, {direction}, {voxels}, SNR {snr:g}": dataclasses.replace(
        BASE, field_strength=strength, b0_dir=b0_dir, voxel_size=voxel_size, snr=snr
    )
    for strength in (3.0, 7.0)
    for direction, b0_dir in (("axial", BASE.b0_dir), ("25° oblique", OBLIQUE))
    for voxels, voxel_size in (("1 mm", BASE.voxel_size), ("1 × 1 × 2 mm", (1.0, 1.0, 2.0)))
    for snr in (200.0, 50.0)
}
REFERENCE = next(iter(SCANS))
CHANGES = {
    "7 T": "7 T, axial, 1 mm, SNR 200",
    "25° oblique": "3 T, 25° oblique, 1 mm, SNR 200",
    "1 × 1 × 2 mm": "3 T, axial, 1 × 1 × 2 mm, SNR 200",
    "SNR 50": "3 T, axial, 1 mm, SNR 50",
}
"""Scans that differ from the reference in one thing, by that thing."""

STAGES = {
    "inversion": "χ by inversion of the true local field",
    "background": "Local field by background removal from the true total field",
    "single_step": "χ from the true total field in a single step",
}
COLUMNS = (
    "nrmse", "detrended_nrmse", "hfen", "xsim", "correlation", "slope", "core", "whole", "valid", "seconds",
)  # fmt: skip
READING = """## Reading

- Inversions: `l1_qsm` and `medi` go before `tv`, as the one does not believe voxels that miss by much, and
  the other takes edges from the magnitude, which in this phantom are those of χ. `nltv` lets edges be
  without it. `tgv` and `fansi_tgv` have little to win on `tv` where tissue is even. `tikhonov` is behind
  `tkd` although it is smoother: its quadratic penalty shrinks (slope 0.75), which NRMSE punishes more than
  streaks. `qsmnet_plus` knows axial scans of 1 mm alone.
- `amp_pe` is told no weight: it finds the rates of its wavelets and the noise. With more noise it smooths
  more than is best, and what its model of the field does not explain it takes for noise as well: at 2 mm,
  SNR 200 it has 27.6 %, the best weight of a grid 20.8 %.
- Cylinders: even in pieces, and without edges in the magnitude. `medi` takes 30 % of the magnitude's noise
  for edges; with 2 % it is as good as `tv`. `learned` has never seen such a thing.
- Background: `residual_resharp` knows χ by `ss_tv`, so that only what that does not explain can be mistaken
  for a background: 0.4 to 0.6 of the error of the best that do not, 6 mm within the mask. Its truth is the
  field of χ in the mask that it returns, while all are compared with that of χ in the whole brain.
- Compare `core`, and mind `valid`. The background is strongest on the border, where `resharp` and
  `sharp` give up 6 mm, `pdf` and `v_sharp` 4 mm, `lbv` four layers. `msmv` and `sdf` take local field off
  with the background (slopes 0.5 and 0.75): one ball of 5 mm, Gaussians of at most 10 mm. A `polynomial`
  cannot follow the field of the sinuses. `harperella` asks that no mean over any ball be left, which is not
  true of tissue at the border. Tilted by 25°, methods that trust the border lose (`lbv`,
  `learned_background`) and `resharp`, which gives it up, gains: veins of the dura lie there, and whether
  their field looks like a background goes by their angle to the field. `learned_background` is before `pdf`
  and `v_sharp` in the core of axial heads, and keeps 3 % more of the mask; it works on voxels of 2.4 mm,
  which costs it detail and the tilted heads.
- Single step: `ss_tv` compares χ with the field behind the filter that removes the background, so nothing
  that the filter took must be guessed, and knows edges and gross errors. `tgv_qsm` knows neither. `tfi` is
  stopped by its 100 iterations before what varies slowly has come back. `qsmart` is `v_sharp` and `ilsqr`,
  twice: a second stage without veins wins nothing where veins follow the dipole model as tissue does, and
  loses 5 points on one stage. By the published filter, `sdf`, it has 62 to 70 %. `learned_single_step` adds
  one to four points of error to `ss_tv`, where it begins, at 1 mm, with a higher XSIM; trained at 0.8 to
  3 mm, it gains at 2 mm.
- XSIM of `tfi` in the page of single steps compares, at 7 T, 25° oblique and 1 × 1 × 2 mm (each alone, SNR
  200), with a truth whose mean is not taken off; on the reference and at SNR 50 that made 0.004 and 0.006.
"""


def main(stages: list[str]) -> None:
    """Fill the records of the stages, or of all, and write the tables of what they hold."""
    unknown = set(stages) - set(STAGES)
    if unknown:
        sys.exit(f"unknown stage {sorted(unknown)[0]}; use {', '.join(STAGES)}")
    for label in (CYLINDERS, *SCANS):
        for stage in stages or STAGES:
            names = [name for name in METHODS[stage] if name not in LONG]
            fill(FOLDER / f"{stage}.json", {label: partial(_trial, stage, label)}, names, stage=stage)
            _write_pages()


def _write_pages() -> None:
    scores = {
        stage: json.loads(path.read_text()) for stage in STAGES if (path := FOLDER / f"{stage}.json").exists()
    }
    introduction = (
        "# Every method on the head phantom and on cylinders\n\nMade by `python -m benchmarks.accuracy`, "
        f"with every method's defaults. NRMSE in percent. The first column is {REFERENCE}; the next four "
        "differ from it in one thing; mean and worst are those of all sixteen combinations. Methods are "
        "sorted by the mean of what is run. Scored is the part of the mask that a method gives values for; "
        "in the pages of the stages, `valid` says how much that is, `whole` scores all of it. All columns: "
        + ", ".join(f"[{stage}]({stage}.md)" for stage in scores)
        + ". Empty cells are not run yet.\n"
    )
    sums = [_sum(stage, rows) for stage, rows in scores.items()]
    (FOLDER / "results.md").write_text("\n".join([introduction, READING, *sums]), encoding="utf-8")
    for stage, rows in scores.items():
        (FOLDER / f"{stage}.md").write_text(_details(stage, rows), encoding="utf-8")


def _sorted(scores: Scores) -> list[str]:
    heads = [row for label, row in scores.items() if label != CYLINDERS]
    return sorted(
        {name for row in heads for name in row},
        key=lambda name: np.mean([row[name]["nrmse"] for row in heads if name in row]),
    )


def _sum(stage: str, scores: Scores) -> str:
    columns = {"reference": REFERENCE} | CHANGES | {CYLINDERS: CYLINDERS}
    lines = [f"## {STAGES[stage]}", "", "| method | " + " | ".join([*columns, "mean", "worst"]) + " |"]
    lines.append("| --- |" + " --- |" * (len(columns) + 2))
    for name in _sorted(scores):
        errors = {label: row[name]["nrmse"] for label, row in scores.items() if name in row}
        cells = [f"{errors[label]:.1f}" if label in errors else "" for label in columns.values()]
        heads = [errors[label] for label in SCANS if label in errors]
        complete = len(heads) == len(SCANS)
        cells += [f"{value:.1f}" if complete else "" for value in (np.mean(heads), max(heads))]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _details(stage: str, scores: Scores) -> str:
    lines = [
        f"# {STAGES[stage]}",
        "",
        "Summary and reading: [results](results.md). `valid` is the part of the mask that a method gives "
        "values for (coverage), which alone is scored; `core` is the NRMSE 6 mm within the mask; `whole` "
        "that in the whole mask, where voxels without a value count as zero, as QSM-CI scores; `seconds` "
        "include compilation, on one or two cores that did other work as well.",
    ]
    for label in (label for label in (*SCANS, CYLINDERS) if label in scores):
        lines += ["", f"## {label}", "", "| method | " + " | ".join(COLUMNS) + " |"]
        lines.append("| --- |" + " --- |" * len(COLUMNS))
        row = scores[label]
        for name in (n for n in _sorted(scores) if n in row):
            cells = [f"{row[name][c]:.3g}" if c in row[name] else "" for c in COLUMNS]
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=1)
def _phantom(voxel_size: tuple[float, float, float], field_strength: float) -> HeadPhantom:
    return head(voxel_size, field_strength=field_strength)


@lru_cache(maxsize=1)
def _scan(protocol: Protocol) -> Scan:
    phantom = _phantom(protocol.phantom_voxel_size, protocol.field_strength)
    return protocol.scan(phantom, key=jax.random.key(0))


def _cylinders() -> Scan:
    """Four cylinders in a large one, in air, with the default sizes and values of ``qsm-forward``."""
    chi = generate_susceptibility_phantom([100, 100, 100], 0.0, 0.005, [4, 4, 4, 7], [0.05, 0.1, 0.2, 0.5])
    mask = chi > 0
    # Relative to air, so that what is beyond the edges is air as well.
    in_air = np.where(mask, chi - AIR_CHI, 0)
    total, local = (jnp.asarray(generate_field(c), jnp.float32) for c in (in_air, chi))
    return Scan(
        signal=gre_signal(total, BASE.acquisition, m0=1.0, r2star=20.0),
        chi=jnp.asarray(chi, jnp.float32),
        total_field=total,
        local_field=local,
        phase_offset=jnp.zeros_like(total),
        mask=mask,
        labels=np.zeros(chi.shape, np.uint8),
        origin=(0.0, 0.0, 0.0),
    )


def _trial(stage: str, label: str) -> Trial:
    protocol = SCANS.get(label, BASE)
    scan = _cylinders() if label == CYLINDERS else _scan(protocol)
    return make_trial(scan, protocol, stage=stage, key=jax.random.key(1))


if __name__ == "__main__":
    main(sys.argv[1:])
