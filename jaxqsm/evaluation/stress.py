"""Run inversions through the sweeps."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxqsm import metrics
from jaxqsm.evaluation.sweeps import Sweep
from jaxqsm.evaluation.trial import Trial
from jaxqsm.pipeline import Method


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one method did at one level of one sweep.

    Attributes:
        sweep: its name.
        level: of the factor.
        method: its name.
        scores: of :func:`jaxqsm.metrics.summary` within the trial's mask.
        seconds: of the inversion, its compilation included where the shape is new.
    """

    sweep: str
    level: float
    method: str
    scores: dict[str, float]
    seconds: float


def stress(
    methods: Iterable[Method],
    sweeps: Iterable[Sweep],
    *,
    voxel_size: float = 1.0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    announce: Callable[[str], None] = lambda text: None,
) -> Iterator[Outcome]:
    """Yield the outcome of every method at every level; each trial is simulated once for all methods.

    Args:
        methods: inversions, from :data:`jaxqsm.pipeline.METHODS`.
        sweeps: from :data:`~jaxqsm.evaluation.SWEEPS`.
        voxel_size: mm, of the reference scan, isotropic.
        options: of methods, by name.
        announce: is told what is being done.

    Notes:
        A level equal to the reference is the same trial in every sweep: it is simulated and inverted once.
    """
    chosen, given = tuple(methods), options or {}
    reference: dict[str, Outcome] = {}
    for sweep in sweeps:
        for level in sweep.levels:
            common = level == sweep.reference and not (sweep.name == "voxel_size" and voxel_size != level)
            trial: Trial | None = None
            for method in chosen:
                if common and method.name in reference:
                    yield dataclasses.replace(reference[method.name], sweep=sweep.name, level=level)
                    continue
                if trial is None:
                    announce(f"{sweep.name} {level:g}: simulating")
                    trial = sweep.trial(level, voxel_size)
                announce(f"{sweep.name} {level:g}: {method.name}")
                scores, seconds = _score(method, trial, given.get(method.name, {}))
                outcome = Outcome(sweep.name, level, method.name, scores, seconds)
                if common:
                    reference[method.name] = outcome
                yield outcome


def _score(method: Method, trial: Trial, options: Mapping[str, Any]) -> tuple[dict[str, float], float]:
    keywords = dict(options)
    if method.takes_magnitude:
        keywords["magnitude"] = trial.magnitude
    start = time.perf_counter()
    chi = jax.block_until_ready(method.function(trial.field, trial.mask, trial.geometry, **keywords))
    seconds = time.perf_counter() - start
    # The mean is no error of an inversion: χ has no absolute reference.
    truth = trial.truth - jnp.sum(trial.truth * trial.mask) / trial.mask.sum()
    chi = chi - jnp.sum(chi * trial.mask) / trial.mask.sum()
    return metrics.summary(chi, truth, trial.mask, trial.labels), seconds
