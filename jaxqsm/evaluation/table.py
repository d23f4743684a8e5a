"""Outcomes of sweeps as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxqsm.evaluation.scoring import SCORES
from jaxqsm.evaluation.stress import Outcome
from jaxqsm.evaluation.sweeps import SWEEPS


def sweep_tables(outcomes: Sequence[Outcome], stage: str = "inversion") -> str:
    """Format one table a sweep: a row a level, the first scores of every method side by side."""
    columns = SCORES[stage]
    methods = list(dict.fromkeys(o.method for o in outcomes))
    lines: list[str] = []
    for name in dict.fromkeys(o.sweep for o in outcomes):
        sweep = SWEEPS[name]
        headings = [f"{m}: {heading}" for m in methods for heading in columns.values()]
        lines += [f"### {name}", "", f"| {sweep.label} | " + " | ".join(headings) + " |"]
        lines += ["| --- " * (1 + len(headings)) + "|"]
        found = {(o.level, o.method): o for o in outcomes if o.sweep == name}
        for level in sorted({level for level, _ in found}):
            cells = [
                f"{found[level, m].scores.get(score, math.nan):{'.1f' if '%' in columns[score] else '.2f'}}"
                for m in methods
                for score in columns
            ]
            mark = " (reference)" if level == sweep.reference else ""
            lines.append(f"| {level:g}{mark} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)
