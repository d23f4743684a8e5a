"""Scores of one method on one trial."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm import metrics
from jaxqsm.evaluation.trial import TURN, Trial
from jaxqsm.methods import Method, find_method
from jaxqsm.operators import MaskedVolume, erode
from jaxqsm.pipeline import standard_deviation_of
from jaxqsm.uncertainty import coverage
from jaxqsm.variational.common import referenced

DEPTH = 6.0
"""mm. The largest radius of the background methods with one SMV kernel."""

MAP_METHOD = "tv"
"""Inversion whose map standard deviations are scored on."""

SCORES = {
    "unwrapping": {"wrong_turns": "unwrapping errors %"},
    "background": {
        "core": "NRMSE % in the core",
        "slope": "slope",
        "valid": "coverage",
        "whole": "NRMSE % in the whole mask",
    },
    "single_step": {
        "nrmse": "NRMSE %",
        "slope": "slope",
        "xsim": "XSIM",
        "valid": "coverage",
        "whole": "NRMSE % in the whole mask",
    },
    "inversion": {"nrmse": "NRMSE %", "slope": "slope", "xsim": "XSIM"},
    "uncertainty": {"coverage": "coverage %", "standard_deviation": "deviation %"},
}
"""Stages whose methods can be scored; for each the scores to look at first, and their headings."""


def score(
    method: Method, trial: Trial, options: Mapping[str, Any] | None = None
) -> tuple[dict[str, float], float]:
    """Score a method in its valid mask and in the whole one, and time it, compilation included.

    Args:
        method: of one of the stages of :data:`SCORES`.
        trial: of that stage.
        options: keyword options of the method.

    Returns:
        Scores by name. For unwrapping ``wrong_turns``, the part of the mask in percent that is off by 2π
        multiples, where the commonest offset is none. For a standard deviation, of the map of
        :data:`MAP_METHOD`, the ``coverage`` of its nominal interval of 0.9 and its root mean square
        ``standard_deviation``, in percent of that of χ. For all others those of
        :func:`jaxqsm.metrics.summary` in the valid mask; ``core``, the NRMSE :data:`DEPTH` within the mask;
        ``valid``, the part of the mask with values (coverage); and ``whole``, the NRMSE in the whole mask,
        where voxels without a value count as zero, as QSM-CI scores.
    """
    mask, geometry = trial.mask, trial.geometry
    work, chi = work_of(method, trial, options)
    start = time.perf_counter()
    found = jax.block_until_ready(work())
    seconds = time.perf_counter() - start
    if chi is not None:
        return _of_standard_deviation(chi, found, trial), seconds
    if method.stage == "unwrapping":
        return {"wrong_turns": _unwrapping_errors(found, trial)}, seconds
    image, valid = MaskedVolume.of(found, mask)
    labels = None
    truth = trial.truth
    whole = image * valid, truth * mask
    if method.stage != "background":
        # The mean is no error of χ, which has no absolute reference; the regional slope is that of χ.
        image, truth, labels = referenced(image, valid), referenced(truth, valid), trial.labels
        whole = referenced(whole[0], mask), referenced(whole[1], mask)
    scores = metrics.summary(image, truth, valid, labels)
    core = erode(mask, DEPTH, geometry) & valid
    scores["core"] = float(metrics.nrmse(image * core, truth * core, core))
    scores["valid"] = float(valid.sum() / mask.sum())
    scores["whole"] = float(metrics.nrmse(*whole, mask))
    return scores, seconds


def work_of(
    method: Method, trial: Trial, options: Mapping[str, Any] | None = None
) -> tuple[Callable[[], Any], Float[Array, "x y z"] | None]:
    """Make the call of a method on a trial, and the map by :data:`MAP_METHOD` that a deviation is of.

    Args:
        method: of one of the stages of :data:`SCORES`.
        trial: of that stage.
        options: keyword options of the method.
    """
    field, mask, geometry = trial.field, trial.mask, trial.geometry
    keywords: dict[str, Any] = dict(options or {})
    weights = {"magnitude": trial.magnitude}
    if method.stage != "uncertainty":
        keywords |= weights if method.takes("magnitude") else {}
        return partial(method.function, field, mask, geometry, **keywords), None
    inversion = find_method("inversion", MAP_METHOD)
    inverted = inversion.settled(field, mask, geometry, weights)
    chi = inversion.function(field, mask, geometry, **inverted)
    given = method, chi, field, mask, geometry, inversion, inverted
    work = partial(standard_deviation_of, *given, magnitude=trial.magnitude, weights=None, options=keywords)
    return work, chi


def _unwrapping_errors(found: Float[Array, "x y z"], trial: Trial) -> float:
    off = jnp.round((found - trial.truth) / TURN)
    off = off - jnp.round(jnp.nanmedian(jnp.where(trial.mask, off, jnp.nan)))
    return float(100 * jnp.sum((off != 0) & trial.mask) / trial.mask.sum())


def _of_standard_deviation(
    chi: Float[Array, "x y z"], standard_deviation: Float[Array, "x y z"], trial: Trial
) -> dict[str, float]:
    mask, truth = trial.mask, referenced(trial.truth, trial.mask)
    covered = coverage(chi - truth, standard_deviation, mask)
    size = jnp.linalg.norm((standard_deviation * mask).ravel()) / jnp.linalg.norm(truth.ravel())
    return {"coverage": float(100 * covered), "standard_deviation": float(100 * size)}
