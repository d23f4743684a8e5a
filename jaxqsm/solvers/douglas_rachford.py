"""Splitting: two functions that are easy one by one, minimised together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax

from jaxqsm.solvers.convergence import noted
from jaxqsm.solvers.fixed_point import fixed_point
from jaxqsm.solvers.iterate import iterate

State = TypeVar("State")


def douglas_rachford(
    proximal: Callable[[State], State],
    nearest: Callable[[State], tuple[Any, State]],
    initial: State,
    *,
    relaxation: float = 1.0,
    tolerance: float | None,
    max_iterations: int,
) -> Any:
    """Minimise f(x) + g(Kx) over x, as the alternating direction method of multipliers does.

    The iteration is carried in the sum v of the split variable Kx and its multiplier, so there is one
    variable of state where the usual form has two: v ← v + relaxation (K x(2 z − v) − z), z = prox_g(v).

    Args:
        proximal: prox_g, from a pytree v to one like it.
        nearest: from v to ``(x, Kx)``, the x of least f(x) + ½ |Kx − v|² in the norm that ``proximal`` uses.
        initial: v to start from.
        relaxation: of each step, between 0 and 2. Default 1, the plain iteration; more is often faster.
        tolerance: relative change of v, over ``relaxation``, at which to stop; None to do all
            ``max_iterations``, for methods that regularise by stopping early.
        max_iterations: bound on the iterations.

    Returns:
        x, in whatever form ``nearest`` gives it. Derivatives are those of the converged solution, see
        :func:`fixed_point`; of the iterate returned where ``tolerance`` is None, see :func:`iterate`.

    References:
        Eckstein & Bertsekas 1992, Math Program 55:293, doi:10.1007/BF01581204.
    """

    step = splitting_step(proximal, nearest, relaxation=relaxation)
    if tolerance is None:
        state = noted(iterate(step, initial, max_iterations), max_iterations)
    else:
        # A longer step changes the state by so much more.
        state = fixed_point(step, initial, tolerance=relaxation * tolerance, max_iterations=max_iterations)
    return nearest(_reflected(proximal(state), state))[0]


def splitting_step(
    proximal: Callable[[State], State],
    nearest: Callable[[State], tuple[Any, State]],
    *,
    relaxation: float = 1.0,
) -> Callable[[State], State]:
    """Make one iteration of :func:`douglas_rachford`, for loops that change the problem."""

    def step(state: State) -> State:
        split = proximal(state)
        _, image = nearest(_reflected(split, state))
        return jax.tree.map(lambda v, k, z: v + relaxation * (k - z), state, image, split)

    return step


def _reflected(split: State, state: State) -> State:
    return jax.tree.map(lambda z, v: 2 * z - v, split, state)
