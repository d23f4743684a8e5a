"""Convergence of a scan's methods: recorded on the host, and said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxqsm.solvers import Convergence, with_convergence

Call = Callable[..., Any]
"""Carries a method out: ``call(function, *arguments, **keywords)``."""


def plainly(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Call the function, and no more: what pure functions do by default."""
    return function(*arguments, **keywords)


def noting(found: dict[str, tuple[Convergence, ...]]) -> Call:
    """Make a call that also notes, by the name of each function, how its iterations ended.

    Functions that are not compiled as a whole, such as networks, are called plainly.

    Args:
        found: takes the notes.
    """

    def call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        if not hasattr(function, "lower"):
            return function(*arguments, **keywords)
        result, notes = with_convergence(function)(*arguments, **keywords)
        if notes:
            found[function.__name__] = notes
        return result

    return call


def described(notes: tuple[Convergence, ...]) -> dict[str, Any]:
    """Describe the last iteration of a method for a JSON file: that which gave its result."""
    note = notes[-1]
    figures = {"last_change": float(note.change), "tolerance": float(note.tolerance)}
    known = {name: float(f"{value:.3g}") for name, value in figures.items() if np.isfinite(value)}
    ended = {"converged": all(bool(n.converged) for n in notes)} if "tolerance" in known else {}
    return {"iterations": int(note.iterations), **known, **ended}


def unfinished(found: Mapping[str, tuple[Convergence, ...]]) -> list[str]:
    """Warn of every method that ended at its last iteration while still changing."""
    return [
        f"{name} did not converge: after {int(note.iterations)} iterations it still changes by "
        f"{float(note.change):.2g}, more than {float(note.tolerance):.2g}; give it more (max_iterations)"
        for name, notes in found.items()
        for note in notes
        if not note.converged
    ]
