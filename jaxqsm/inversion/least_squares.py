"""Weighted least squares, stopped early: where many methods begin."""

from __future__ import annotations

from jaxtyping import Array, Float

from jaxqsm.inversion.problem import Problem
from jaxqsm.physics import dipole_convolve
from jaxqsm.solvers import conjugate_gradient


def least_squares(
    given: Problem, weights: Float[Array, "X Y Z"], *, iterations: int
) -> Float[Array, "X Y Z"]:
    """χ of small Σ weights (Dχ − field)², by conjugate gradients on the normal equations.

    Equal to LSQR (Paige & Saunders 1982, doi:10.1145/355984.355989) with as many steps, in exact arithmetic.

    Args:
        given: the problem.
        weights: of the squares, on the padded grid.
        iterations: the fewer, the smoother χ is in the directions that the kernel hardly sees.
    """

    def convolve(image: Array) -> Array:
        return dipole_convolve(image, given.kernel, given.shape)

    return conjugate_gradient(
        lambda chi: convolve(weights * convolve(chi)),
        convolve(weights * given.field),
        iterations=iterations,
    )
