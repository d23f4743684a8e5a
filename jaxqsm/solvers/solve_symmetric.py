"""Converged solutions of symmetric linear equations, differentiated implicitly."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from jaxqsm.solvers.conjugate_gradient import conjugate_gradient

SOLVED = 1e-2
"""Residual, as a part of the right-hand side, above which an equation counts as not solved."""

Linear = Callable[[Float[Array, "..."]], Float[Array, "..."]]


def solve_symmetric(
    operator: Linear,
    right: Float[Array, ...],
    *,
    max_iterations: int,
    preconditioner: Linear = lambda residual: residual,
) -> Float[Array, ...]:
    """Solve A x = b for a symmetric, positive semi-definite A by conjugate gradients.

    The derivative is that of the solution, found by one more solve with A, so memory does not grow with
    ``max_iterations``; take as many as the solution needs. Where early stopping regularises, use
    :func:`conjugate_gradient`, whose derivative is that of the iterate. It is a
    ``jax.lax.custom_linear_solve`` over our own conjugate gradients and not a solver of lineax, because a
    fixed count of iterations without a stopping test is one ``scan`` that XLA compiles once for every device.

    Args:
        operator: A, linear and symmetric.
        right: b.
        max_iterations: number of steps (static); none is left out.
        preconditioner: linear, symmetric, positive semi-definite approximation of the inverse of A. Default:
            the identity.

    Returns:
        x; same shape as ``right``.

    References:
        Hestenes & Stiefel 1952, J Res Natl Bur Stand 49:409, doi:10.6028/jres.049.044.

    Example:
        >>> import jax.numpy as jnp
        >>> float(solve_symmetric(lambda x: 4 * x, jnp.array(8.0), max_iterations=2))
        2.0
    """

    def solve(matrix: Linear, vector: Array) -> Array:
        return conjugate_gradient(
            matrix,
            vector,
            max_iterations=max_iterations,
            preconditioner=preconditioner,
            tolerance=SOLVED,
        )

    return jax.lax.custom_linear_solve(operator, right, solve, symmetric=True)
