"""Surroundings of a stage: none, a timer, or a spinner."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

Result = TypeVar("Result")


Stage = Callable[[str], AbstractContextManager[Callable[[Any], Any]]]
"""Surroundings of the work of a stage: ``with stage("unwrapping") as done: phase = done(unwrap(…))``.

``done`` returns its argument once that is computed: JAX computes while Python goes on.
"""


def _as_it_is(result: Result) -> Result:
    return result


@contextlib.contextmanager
def unwatched(name: str) -> Iterator[Callable[[Any], Any]]:
    """Carry a stage out and wait for nothing: what pure functions use by default."""
    del name
    yield _as_it_is
