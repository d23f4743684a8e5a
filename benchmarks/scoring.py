"""Methods scored on trials, in a table that can be filled bit by bit."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxqsm import metrics
from jaxqsm.evaluation import Trial
from jaxqsm.io import save_json
from jaxqsm.operators import erode
from jaxqsm.pipeline import find_method

Scores = dict[str, dict[str, dict[str, float]]]
"""By trial, by method, by metric; ``seconds`` include compilation."""


DEPTH = 6.0
"""mm. The largest ball of the background methods with one ball."""


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
            row[name] = _score(stage, name, trial)
            save_json(record, scores)
            print(label, name, row[name], file=sys.stderr, flush=True)
    return scores


def _score(stage: str, name: str, trial: Trial) -> dict[str, float]:
    """Scores where the method says that it is valid; ``valid`` is that part of the mask.

    ``core`` is the NRMSE :data:`DEPTH` within the mask, where all methods are valid.
    """
    method = find_method(stage, name)
    weights: dict[str, Any] = {"magnitude": trial.magnitude} if method.takes_magnitude else {}
    start = time.perf_counter()
    found = jax.block_until_ready(method.function(trial.field, trial.mask, trial.geometry, **weights))
    seconds = time.perf_counter() - start
    image, valid = (found, trial.mask) if stage == "inversion" else found
    # The regional slope is that of χ.
    labels = None if stage == "background" else trial.labels
    scores = metrics.summary(image, trial.truth, valid, labels)
    scores = {key: round(float(value), 4) for key, value in scores.items()}
    part = float(valid.sum() / trial.mask.sum())
    core = erode(trial.mask, DEPTH, trial.geometry) & valid
    deep = round(float(metrics.nrmse(image * core, trial.truth * core, core)), 4)
    return scores | {"core": deep, "valid": round(part, 3), "seconds": round(seconds, 1)}
