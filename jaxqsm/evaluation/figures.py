"""Sweeps and heads as figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jaxqsm.evaluation.scoring import SCORES
from jaxqsm.evaluation.stress import Outcome
from jaxqsm.evaluation.sweeps import SWEEPS

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
"""Okabe & Ito's palette, which colour-blind readers can tell apart."""

PERFECT = {"slope": 1.0, "coverage": 90.0}
"""Scores of a perfect method, where they are not zero."""


def draw_sweeps(outcomes: Sequence[Outcome], path: Path, stage: str = "inversion") -> None:
    """Draw the first two scores of a stage against each factor, one curve a method, as PNG."""
    scores = list(SCORES[stage].items())[:2]
    names = list(dict.fromkeys(o.sweep for o in outcomes))
    methods = list(dict.fromkeys(o.method for o in outcomes))
    columns = min(4, len(names))
    blocks, height = -(-len(names) // columns), len(scores)
    figure = Figure(figsize=(3.6 * columns, 2.4 * height * blocks + 0.5), layout="constrained")
    axes = figure.subplots(height * blocks, columns, squeeze=False)
    for place, name in enumerate(names):
        sweep = SWEEPS[name]
        row, column = height * (place // columns), place % columns
        for offset, (score, heading) in enumerate(scores):
            panel = axes[row + offset, column]
            for number, method in enumerate(methods):
                points = sorted(
                    (o.level, o.scores[score]) for o in outcomes if (o.sweep, o.method) == (name, method)
                )
                levels, values = np.array(points).T
                panel.plot(levels, values, "o-", color=COLOURS[number % len(COLOURS)], ms=4, label=method)
            panel.axvline(sweep.reference, color="#bbbbbb", lw=0.8, zorder=0)
            if score in PERFECT:
                panel.axhline(PERFECT[score], color="#bbbbbb", lw=0.8, zorder=0)
            else:
                panel.set_ylim(bottom=0)
            if offset == 0:
                panel.set_title(name)
            if offset == height - 1:
                panel.set_xlabel(sweep.label)
            if sweep.logarithmic:
                panel.set_xscale("log", base=2)
                panel.set_xticks(sweep.levels, [f"{level:g}" for level in sweep.levels], minor=False)
            if column == 0:
                panel.set_ylabel(heading)
            panel.spines[["top", "right"]].set_visible(False)
    for place in range(len(names), blocks * columns):
        for offset in range(height):
            axes[height * (place // columns) + offset, place % columns].set_axis_off()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=110)
