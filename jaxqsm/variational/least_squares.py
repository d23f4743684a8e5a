"""Weighted least squares, stopped early: where many methods begin."""

from __future__ import annotations

from jaxtyping import Array, Float

from jaxqsm.physics import dipole_convolve
from jaxqsm.solvers import conjugate_gradient
from jaxqsm.variational.problem import InversionProblem


def least_squares(
    given: InversionProblem,
    weights: Float[Array, "X Y Z"],
    *,
    max_iterations: int,
    start: Float[Array, "X Y Z"] | None = None,
) -> Float[Array, "X Y Z"]:
    """Minimise Σ weights (Dχ − field)² by conjugate gradients on the normal equations, stopped early.

    Equal to LSQR (Paige & Saunders 1982, doi:10.1145/355984.355989) with as many steps, in exact arithmetic.

    Args:
        given: the problem.
        weights: of the squares, on the padded grid.
        max_iterations: the fewer, the smoother χ is in the directions that the kernel hardly sees.
        start: χ in ppm on the padded grid; what it knows of those directions stays. Default: 0.
    """

    def convolve(image: Array) -> Array:
        return dipole_convolve(image, given.kernel, given.shape)

    unexplained = given.field if start is None else given.field - convolve(start)
    change = conjugate_gradient(
        lambda chi: convolve(weights * convolve(chi)),
        convolve(weights * unexplained),
        max_iterations=max_iterations,
    )
    return change if start is None else start + change
