"""jaxqsm evaluate: a map against the truth."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jaxqsm import metrics
from jaxqsm.io import finite_within, load, load_mask, require_same_grid


def evaluate(
    chi: Path,
    truth: Path,
    /,
    *,
    mask: Path,
    labels: Path | None = None,
    replace_nonfinite: bool = False,
    json_output: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Score a map against the truth, as the QSM-CI scorer defines the scores.

    Parameters
    ----------
    chi
        Map to score, ppm.
    truth
        True map, ppm.
    mask
        Where to score.
    labels
        Segmentation in the QSM-CI scheme (1 to 6 are deep grey nuclei), for the regional slope.
    replace_nonfinite
        Accept NaN and infinite voxels within the mask, as 0. Outside they never matter.
    json_output
        Print JSON instead of a table.
    """
    inside = load_mask(mask)
    image, true = (load(path, keep_nonfinite=True) for path in (chi, truth))
    regions = None if labels is None else load(labels, replace_nonfinite=True)
    for other in (true, inside, *([] if regions is None else [regions])):
        require_same_grid(image, other)
    image, true = (finite_within(i, inside.data, replace=replace_nonfinite) for i in (image, true))
    # Double precision: scores are compared between programs to many digits.
    with jax.enable_x64(True):
        scores = metrics.summary(
            jnp.asarray(image.data, float),
            jnp.asarray(true.data, float),
            jnp.asarray(inside.data),
            None if regions is None else jnp.asarray(np.rint(regions.data), int),
        )
    if json_output:
        sys.stdout.write(json.dumps(scores, indent=2) + "\n")
        return
    table = Table("metric", "value", box=None)
    for name, value in scores.items():
        table.add_row(name, f"{value:.4f} {metrics.UNITS.get(name, '')}")
    Console().print(table)
