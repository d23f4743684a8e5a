"""A fixed number of iterations: the result depends on the count, so gradients unroll it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import jax

State = TypeVar("State")


def iterate(step: Callable[[State], State], initial: State, count: int) -> State:
    """Apply ``step`` ``count`` times.

    For early-stopped methods, where implicit differentiation would answer another question. The
    reverse pass stores about 2 √count states, not count, and evaluates ``step`` twice more.

    Args:
        step: state to state; may close over traced arrays.
        initial: any pytree.
        count: number of applications (static).

    Returns:
        The last state.
    """
    length = max(1, math.isqrt(count))

    def inner(state: State, _: None) -> tuple[State, None]:
        return step(state), None

    @jax.checkpoint
    def segment(state: State, _: None) -> tuple[State, None]:
        return jax.lax.scan(jax.checkpoint(inner), state, None, length=length)

    state, _ = jax.lax.scan(segment, initial, None, length=count // length)
    state, _ = jax.lax.scan(jax.checkpoint(inner), state, None, length=count % length)
    return state
