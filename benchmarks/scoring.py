"""Inversions scored on trials, in a table that can be filled bit by bit."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax

from jaxqsm import metrics
from jaxqsm.evaluation import Trial
from jaxqsm.io import save_json
from jaxqsm.pipeline import find_method

Scores = dict[str, dict[str, dict[str, float]]]
"""By trial, by method, by metric; ``seconds`` include compilation."""


def fill(record: Path, trials: Mapping[str, Callable[[], Trial]], names: Sequence[str]) -> Scores:
    """Score the methods on every trial; what the record has already is not done again."""
    scores: Scores = json.loads(record.read_text()) if record.exists() else {}
    for label, make in trials.items():
        row = scores.setdefault(label, {})
        missing = [name for name in names if name not in row]
        trial = make() if missing else None
        for name in missing:
            assert trial is not None
            row[name] = _score(name, trial)
            save_json(record, scores)
            print(label, name, row[name], file=sys.stderr, flush=True)
    return scores


def _score(name: str, trial: Trial) -> dict[str, float]:
    method = find_method("inversion", name)
    weights = {"magnitude": trial.magnitude} if method.takes_magnitude else {}
    start = time.perf_counter()
    chi = jax.block_until_ready(method.function(trial.local_field, trial.mask, trial.geometry, **weights))
    seconds = time.perf_counter() - start
    scores = metrics.summary(chi, trial.chi, trial.mask, trial.labels)
    return {key: round(float(value), 4) for key, value in scores.items()} | {"seconds": round(seconds, 1)}
