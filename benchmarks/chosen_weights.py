"""``python -m benchmarks.chosen_weights [METHOD ...]``: weights from the data beside the best of a grid.

Every inversion and single step with a weight, on simulated heads of 2 mm: the atlas head, 20° oblique, and
another person, 45° oblique. The grid is the typical weight times powers of 1.6, walked downhill from the
chosen weight, so the best is the one whose neighbours are both worse. Writes ``chosen_weights.json`` and
``chosen_weights.md`` in ``results/``; finished cells are not done again.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from functools import cache, partial

import jax

from benchmarks.record import RESULTS
from benchmarks.scoring import downhill
from jaxqsm.evaluation import EVALUATION_SCANS, Trial, make_trial, score
from jaxqsm.evaluation.scans import tilted
from jaxqsm.io import save_json
from jaxqsm.methods import METHODS, Method
from jaxqsm.phantoms import HeadPhantom, head
from jaxqsm.simulation import Protocol

RECORD = RESULTS / "chosen_weights.json"
PAGE = RESULTS / "chosen_weights.md"
STEP = 1.6
ATLAS = Protocol(voxel_size=(2.0, 2.0, 2.0), b0_dir=tilted(20))
OTHER = dataclasses.replace(ATLAS, b0_dir=tilted(45), field_strength=7.0, snr=50.0)
STAGES = ("inversion", "single_step")

INTRODUCTION = """# Weights that choose themselves

NRMSE of χ in percent with the weight that the data choose, the default; with the best weight of a grid in
steps of 1.6; and with the typical weight that the search begins near. The choice sees the field alone, the
grid is judged by the truth. Heads of 2 mm, simulated at 1 mm, oblique by 20 and 45°; inversions are given the
true local field with the scan's noise, single steps (`ss_tv`, `tfi`, `tgv_qsm`) the total field. Made by
`python -m benchmarks.chosen_weights`.
"""

Cell = dict[str, float]
Record = dict[str, dict[str, Cell]]
"""By scan, by method."""


def main(names: list[str]) -> None:
    """Fill the record for the methods, or for all, and write the page."""
    methods = [m for m in _weighed() if not names or m.name in names]
    record: Record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for label, (protocol, person) in _scans().items():
        row = record.setdefault(label, {})
        missing = [m for m in methods if m.name not in row]
        if not missing:
            continue
        scan = dataclasses.replace(protocol, snr=math.inf).scan(person(), key=jax.random.key(0))
        trials = {s: make_trial(scan, protocol, stage=s, key=jax.random.key(1)) for s in STAGES}
        for method in missing:
            row[method.name] = _compare(method, trials[method.stage])
            save_json(RECORD, record)
            print(label, method.name, row[method.name], file=sys.stderr, flush=True)
    PAGE.write_text(_page(record), encoding="utf-8")


def _weighed() -> list[Method]:
    every = [method for stage in STAGES for method in METHODS[stage].values()]
    return [m for m in every if m.typical_weight is not None]


def _scans() -> dict[str, tuple[Protocol, Callable[[], HeadPhantom]]]:
    def other() -> HeadPhantom:
        return dataclasses.replace(EVALUATION_SCANS[0], protocol=OTHER).phantom()

    return {
        "atlas head, 3 T, SNR 100": (ATLAS, partial(head, ATLAS.phantom_voxel_size)),
        "another person, 7 T, SNR 50": (OTHER, other),
    }


def _compare(method: Method, trial: Trial) -> Cell:
    def error(weight: float) -> float:
        scores, _ = score(method, trial, {"weight": weight})
        return scores["nrmse"]

    scan = trial.field, trial.mask, trial.geometry
    keywords = {"magnitude": trial.magnitude} if method.takes("magnitude") else {}
    chosen = float(method.settled(*scan, keywords)["weight"])
    typical = method.typical_weight
    assert typical is not None
    on_grid = cache(lambda step: error(typical * STEP**step))
    best = downhill(on_grid, round(math.log(chosen / typical, STEP)))
    cell = {"chosen": error(chosen), "best": on_grid(best), "typical": on_grid(0)}
    return {key: round(value, 2) for key, value in cell.items()} | {
        "chosen_weight": chosen,
        "best_weight": typical * STEP**best,
    }


def _page(record: Record) -> str:
    heads = [f"{label}: chosen / best / typical" for label in record]
    lines = [INTRODUCTION, "| method | " + " | ".join(heads) + " | chosen over best |"]
    lines.append("| --- |" + " --- |" * (len(heads) + 1))
    for method in _weighed():
        cells = [row.get(method.name) for row in record.values()]
        values = [f"{c['chosen']:.1f} / {c['best']:.1f} / {c['typical']:.1f}" if c else "" for c in cells]
        ratios = [f"{c['chosen'] / c['best']:.2f}" for c in cells if c]
        lines.append(f"| `{method.name}` | " + " | ".join(values) + f" | {', '.join(ratios)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
