"""Run methods through the sweeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jaxqsm.evaluation.scoring import score
from jaxqsm.evaluation.sweeps import Sweep
from jaxqsm.evaluation.trial import Trial
from jaxqsm.methods import Method


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Scores of one method at one level of one sweep.

    Attributes:
        sweep: its name.
        level: of the factor.
        method: its name.
        scores: of :func:`~jaxqsm.evaluation.score`.
        seconds: of the method, its compilation included where the shape is new.
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
    known: Iterable[Outcome] = (),
    announce: Callable[[str], None] = lambda text: None,
) -> Iterator[Outcome]:
    """Yield the outcome of every method at every level; each trial is simulated once for all methods.

    Args:
        methods: of one stage, from :data:`jaxqsm.methods.METHODS`.
        sweeps: from :data:`~jaxqsm.evaluation.SWEEPS`.
        voxel_size: mm, of the reference scan, isotropic.
        options: of methods, by name.
        known: outcomes of the same call before it was stopped: they are yielded as they are.
        announce: called with what is being done.

    Notes:
        A level equal to the reference is the same trial in every sweep: it is simulated and scored once.
    """
    chosen, given = tuple(methods), options or {}
    had = {(o.sweep, o.level, o.method): o for o in known}
    reference: dict[str, Outcome] = {}
    for sweep in sweeps:
        for level in sweep.levels:
            common = level == sweep.reference and not (sweep.name == "voxel_size" and voxel_size != level)
            trial: Trial | None = None
            for method in chosen:
                outcome = had.get((sweep.name, level, method.name))
                if outcome is None and common and method.name in reference:
                    outcome = dataclasses.replace(reference[method.name], sweep=sweep.name, level=level)
                if outcome is None:
                    if trial is None:
                        announce(f"{sweep.name} {level:g}: simulating")
                        trial = sweep.trial(level, voxel_size, method.stage)
                    announce(f"{sweep.name} {level:g}: {method.name}")
                    scores, seconds = score(method, trial, given.get(method.name))
                    outcome = Outcome(sweep.name, level, method.name, scores, seconds)
                if common:
                    reference[method.name] = outcome
                yield outcome
