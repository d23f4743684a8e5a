"""What a person sees while working: notes and progress, all on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from rich.console import Console

_console = Console(stderr=True, highlight=False, soft_wrap=True)
T = TypeVar("T")


def terminal() -> Console:
    """Where all of this goes, for Rich's progress bars."""
    return _console


def note(text: str) -> None:
    """Something recognised or done."""
    _console.print(text, markup=False)


def warn(text: str) -> None:
    """Something to look at twice."""
    _console.print(f"warning: {text}", style="yellow", markup=False)


def fail(text: str) -> None:
    """Why the command ends."""
    _console.print(f"jaxqsm: error: {text}", style="bold red", markup=False)


def stage(name: str, work: Callable[[], T]) -> T:
    """Do ``work`` under a spinner, then say how long it took. Fits :class:`jaxqsm.pipeline.Stage`."""
    start = time.perf_counter()
    with _console.status(f"{name} …"):
        result: Any = jax.block_until_ready(work())
    _console.print(f"  {name:<28}{time.perf_counter() - start:7.1f} s", markup=False)
    return result
