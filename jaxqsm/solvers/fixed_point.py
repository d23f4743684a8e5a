"""Iteration to a tolerance, differentiated as it ran, or at the solution where it may run long."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import jax.custom_batching
import jax.extend
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from jaxqsm.solvers.convergence import noted
from jaxqsm.solvers.iterate import iterate

State = TypeVar("State")
Carry = Any
"""State, whether it is to be iterated further, the count of iterations, and the last relative change."""

MOST_STORED = 1000
"""Iterations, at most, that derivatives are taken through one by one."""


def fixed_point(
    step: Callable[[State], State],
    initial: State,
    *,
    tolerance: ArrayLike,
    max_iterations: int,
) -> State:
    """Solve ``state = step(state)`` by iterating a (firmly) non-expansive ``step``.

    Forward- and reverse-mode derivatives with respect to everything that ``step`` closes over are those of
    what is returned: of the iterations that were done, as their number stays the same for small changes. At
    the tolerances that images need a solution is far from converged, and so would be the derivative of the
    solution. The reverse pass costs about three times the solve and stores 2 √``max_iterations`` states
    (:func:`iterate`).

    Where more than 1000 iterations are allowed they are those of the converged solution, by the implicit
    function theorem: one more linear iteration with the derivative of ``step`` (or its transpose) at the
    solution, under the same tolerance and limit. No iterate is stored; exact as ``tolerance`` goes to zero.

    Args:
        step: state to state, ``state`` any pytree of floating arrays.
        initial: where to start.
        tolerance: stop when the change of the state is below ``tolerance`` times its norm.
        max_iterations: stop after this many in any case.

    Returns:
        The last state.

    References:
        Griewank & Walther 2000, ACM Trans Math Softw 26:19, doi:10.1145/347837.347846 (storing few states);
        Bai, Kolter & Koltun 2019, NeurIPS 32, arXiv:1909.01377 (implicit derivatives).
    """
    if max_iterations > MOST_STORED:
        return _solution(step, initial, tolerance, max_iterations)
    closed, shape = jax.make_jaxpr(step, return_shape=True)(initial)
    structure = jax.tree.structure(shape)

    def pure(state: State, constants: list[ArrayLike]) -> State:
        filled = jax.extend.core.ClosedJaxpr(closed.jaxpr, constants)
        leaves = jax.extend.core.jaxpr_as_fun(filled)(*jax.tree.leaves(state))
        return jax.tree.unflatten(structure, leaves)

    return _last(pure, max_iterations, initial, tolerance, closed.consts)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _last(
    step: Callable[[State, list[ArrayLike]], State],
    max_iterations: int,
    initial: State,
    tolerance: ArrayLike,
    constants: list[ArrayLike],
) -> State:
    return _repeat(lambda state: step(state, constants), initial, tolerance, max_iterations)


@_last.defjvp
def _derivative_of_iterations(
    step: Callable[[State, list[ArrayLike]], State],
    max_iterations: int,
    primals: tuple[State, ArrayLike, list[ArrayLike]],
    tangents: Any,
) -> tuple[State, State]:
    def stored(initial: State, tolerance: ArrayLike, constants: list[ArrayLike]) -> State:
        advance = _iteration(lambda s: step(s, constants), tolerance, max_iterations)

        def advance_some(carry: Carry) -> Carry:
            return jax.tree.map(lambda new, old: jnp.where(carry[1], new, old), advance(carry), carry)

        def once(carry: Carry) -> Carry:
            return jax.lax.cond(_anywhere(carry[1]), advance_some, lambda same: same, carry)

        last: State = iterate(once, _begin(initial, max_iterations), max_iterations)[0]
        return last

    return jax.jvp(stored, primals, tangents)


@jax.custom_batching.custom_vmap
def _anywhere(going: Array) -> Array:
    """Check whether any of a batch goes on: then what is done is skipped, and not computed and dropped."""
    return going


@_anywhere.def_vmap
def _anywhere_of_batch(axis_size: int, in_batched: list[bool], going: Array) -> tuple[Array, bool]:
    del axis_size
    return _anywhere(jnp.any(going, axis=0) if in_batched[0] else going), False


def _solution(
    step: Callable[[State], State], initial: State, tolerance: ArrayLike, max_iterations: int
) -> State:
    def residual(state: State) -> State:
        return jax.tree.map(jnp.subtract, state, step(state))

    def solve(_: Callable[[State], State], start: State) -> State:
        return _repeat(step, start, tolerance, max_iterations)

    def neumann(linear_residual: Callable[[State], State], right: State) -> State:
        # (I − J) s = r  ⇔  s = r + J s, and J s = s − linear_residual(s).
        def update(state: State) -> State:
            moved = linear_residual(state)
            return jax.tree.map(lambda s, m, r: s - m + r, state, moved, right)

        return _repeat(update, right, tolerance, max_iterations)

    def tangent_solve(linear_residual: Callable[[State], State], right: State) -> State:
        return jax.lax.custom_linear_solve(linear_residual, right, solve=neumann, transpose_solve=neumann)

    return jax.lax.custom_root(residual, initial, solve, tangent_solve)


def _repeat(
    update: Callable[[State], State], start: State, tolerance: ArrayLike, max_iterations: int
) -> State:
    advance = _iteration(update, tolerance, max_iterations)
    begin = _begin(start, max_iterations)
    last, _, count, change = jax.lax.while_loop(lambda carry: carry[1], advance, begin)
    return noted(last, count, change, tolerance)


def _begin(start: Any, max_iterations: int) -> Carry:
    return start, jnp.array(max_iterations > 0), 0, jnp.full_like(_norm(start), jnp.inf)


def _iteration(
    update: Callable[[State], State], tolerance: ArrayLike, max_iterations: int
) -> Callable[[Carry], Carry]:
    def advance(carry: Carry) -> Carry:
        state, _, count, _ = carry
        new = update(state)
        change = _norm(jax.tree.map(jnp.subtract, new, state)) / jnp.maximum(_norm(new), _TINY)
        return new, (change > tolerance) & (count + 1 < max_iterations), count + 1, change

    return advance


_TINY = 1e-30


def _norm(state: Any) -> Array:
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(state)))
