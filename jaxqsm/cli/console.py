"""Notes, warnings and progress of the command line, on standard error."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console

_console = Console(stderr=True, highlight=False, soft_wrap=True)


def terminal() -> Console:
    """Return the console that all of this is printed on, for Rich's progress bars."""
    return _console


def note(text: str) -> None:
    """Print what was recognised or done."""
    _console.print(text, markup=False)


def warn(text: str) -> None:
    """Print a doubt that a person should check."""
    _console.print(f"warning: {text}", style="yellow", markup=False)


def fail(text: str) -> None:
    """Print why the command ends."""
    _console.print(f"jaxqsm: error: {text}", style="bold red", markup=False)


@contextlib.contextmanager
def stage(name: str) -> Iterator[Callable[[Any], Any]]:
    """Show a spinner, then how long the work took; what it yields waits for a result of JAX.

    It is a :class:`jaxqsm.pipeline.Stage`.
    """
    import jax  # an error in one line must not wait for it

    start = time.perf_counter()
    with _console.status(f"{name} …"):
        yield jax.block_until_ready
    _console.print(f"  {name:<28}{time.perf_counter() - start:7.1f} s", markup=False)
