"""Generic iterations, each with its own exact way of being differentiated."""

from jaxqsm.solvers.conjugate_gradient import conjugate_gradient
from jaxqsm.solvers.douglas_rachford import douglas_rachford, splitting_step
from jaxqsm.solvers.fixed_point import fixed_point
from jaxqsm.solvers.iterate import iterate
from jaxqsm.solvers.proximal import shrink

__all__ = [
    "conjugate_gradient",
    "douglas_rachford",
    "fixed_point",
    "iterate",
    "shrink",
    "splitting_step",
]
