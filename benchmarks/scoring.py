"""Methods scored on trials, in a table that can be filled bit by bit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from jaxqsm.evaluation import Trial, score
from jaxqsm.io import save_json
from jaxqsm.methods import find_method

Scores = dict[str, dict[str, dict[str, float]]]
"""By trial, by method, by metric; ``seconds`` include compilation."""

LONG = ("fine", "zero_shot", "deep_image_prior", "implicit_representation", "plug_and_play", "red")
"""Inversions by a network at work on each scan for minutes: :mod:`benchmarks.scan_fits` compares them."""


def downhill(error: Callable[[int], float], start: int = 0) -> int:
    """Walk the whole numbers from a first one until both neighbours have the larger error; the lowest."""
    known = cache(error)
    best = start
    while (lowest := min((best - 1, best, best + 1), key=known)) != best:
        best = lowest
    return best


def fill(
    record: Path, trials: Mapping[str, Callable[[], Trial]], names: Sequence[str], *, stage: str = "inversion"
) -> Scores:
    """Score methods of a stage on every trial; what the record has already is not done again."""
    scores: Scores = json.loads(record.read_text()) if record.exists() else {}
    for label, make in trials.items():
        row = scores.setdefault(label, {})
        missing = [name for name in names if name not in row]
        trial = make() if missing else None
        for name in missing:
            assert trial is not None
            found, seconds = score(find_method(stage, name), trial)
            row[name] = {key: round(value, 4) for key, value in found.items()} | {
                "seconds": round(seconds, 1)
            }
            save_json(record, scores)
            print(label, name, row[name], file=sys.stderr, flush=True)
    return scores
