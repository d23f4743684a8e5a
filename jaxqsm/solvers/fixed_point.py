"""Iteration to convergence, differentiated implicitly: memory does not grow with iterations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

State = TypeVar("State")
Carry = Any
"""State, its last change, and the count of iterations."""


def fixed_point(
    step: Callable[[State], State],
    initial: State,
    *,
    tolerance: float,
    max_iterations: int,
) -> State:
    """Solve ``state = step(state)`` by iterating a (firmly) non-expansive ``step``.

    Forward- and reverse-mode derivatives with respect to everything that ``step`` closes over come
    from the implicit function theorem: one more linear iteration with the derivative of ``step``
    (or its transpose) at the solution, under the same tolerance and limit. They are the
    derivatives of the *converged* solution: exact as ``tolerance`` goes to zero.

    Args:
        step: state to state, ``state`` any pytree of floating arrays.
        initial: where to start; the derivative with respect to it is zero.
        tolerance: stop when the change of the state is below ``tolerance`` times its norm.
        max_iterations: stop after this many in any case.

    Returns:
        The last state.
    """

    def repeat(update: Callable[[State], State], start: State) -> State:
        def unfinished(carry: Carry) -> Array:
            _, change, count = carry
            return (change > tolerance) & (count < max_iterations)

        def advance(carry: Carry) -> Carry:
            state, _, count = carry
            new = update(state)
            change = _norm(jax.tree.map(jnp.subtract, new, state))
            return new, change / jnp.maximum(_norm(new), _TINY), count + 1

        return jax.lax.while_loop(unfinished, advance, (start, jnp.inf, 0))[0]

    def residual(state: State) -> State:
        return jax.tree.map(jnp.subtract, state, step(state))

    def solve(_: Callable[[State], State], start: State) -> State:
        return repeat(step, start)

    def neumann(linear_residual: Callable[[State], State], right: State) -> State:
        # (I − J) s = r  ⇔  s = r + J s, and J s = s − linear_residual(s).
        def update(state: State) -> State:
            moved = linear_residual(state)
            return jax.tree.map(lambda s, m, r: s - m + r, state, moved, right)

        return repeat(update, right)

    def tangent_solve(linear_residual: Callable[[State], State], right: State) -> State:
        return jax.lax.custom_linear_solve(linear_residual, right, solve=neumann, transpose_solve=neumann)

    return jax.lax.custom_root(residual, initial, solve, tangent_solve)


_TINY = 1e-30


def _norm(state: Any) -> Array:
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(state)))
