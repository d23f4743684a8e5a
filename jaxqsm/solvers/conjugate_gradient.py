"""Conjugate gradients with a fixed number of iterations, for problems that early stopping regularises."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm.solvers.convergence import noted
from jaxqsm.solvers.iterate import iterate


def conjugate_gradient(
    operator: Callable[[Float[Array, ...]], Float[Array, ...]],
    right: Float[Array, ...],
    *,
    max_iterations: int,
    preconditioner: Callable[[Float[Array, ...]], Float[Array, ...]] = lambda residual: residual,
    tolerance: float = math.nan,
) -> Float[Array, ...]:
    """Iterate ``max_iterations`` conjugate-gradient steps from zero on a semi-definite operator.

    Unlike ``jax.scipy.sparse.linalg.cg`` the derivative is that of the iterate returned, not of the
    converged solution, which for an ill-posed problem is another (and useless) image.

    Args:
        operator: linear, symmetric, positive semi-definite.
        right: right-hand side.
        max_iterations: number of steps (static). A step after exact convergence changes nothing.
        preconditioner: linear, symmetric, positive semi-definite approximation of the operator's
            inverse. Default: the identity.
        tolerance: of the residual over ``right``, above which :func:`~jaxqsm.solvers.with_convergence` calls
            it not converged; nothing stops there. Default: none, as for all that stop early.

    Returns:
        The iterate; same shape as ``right``.

    References:
        Hestenes & Stiefel 1952, J Res Natl Bur Stand 49:409, doi:10.6028/jres.049.044.
    """

    def step(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        solution, residual, direction, energy = state
        image = operator(direction)
        length = _ratio(energy, jnp.sum(direction * image))
        residual = residual - length * image
        steepest = preconditioner(residual)
        new_energy = jnp.sum(residual * steepest)
        new_direction = steepest + _ratio(new_energy, energy) * direction
        return solution + length * direction, residual, new_direction, new_energy

    steepest = preconditioner(right)
    start = (jnp.zeros_like(right), right, steepest, jnp.sum(right * steepest))
    solution, residual, *_ = iterate(step, start, max_iterations)
    left = jax.lax.stop_gradient(jnp.sqrt(_ratio(jnp.sum(residual**2), jnp.sum(right**2))))
    return noted(solution, max_iterations, left, tolerance)


def _ratio(numerator: Array, denominator: Array) -> Array:
    positive = denominator > 0
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1), 0)
