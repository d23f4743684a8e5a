"""Generic iterations, each with its own exact way of being differentiated."""

from jaxqsm.solvers.conjugate_gradient import conjugate_gradient as conjugate_gradient
from jaxqsm.solvers.convergence import Convergence as Convergence
from jaxqsm.solvers.convergence import noted as noted
from jaxqsm.solvers.convergence import with_convergence as with_convergence
from jaxqsm.solvers.douglas_rachford import douglas_rachford as douglas_rachford
from jaxqsm.solvers.douglas_rachford import splitting_step as splitting_step
from jaxqsm.solvers.fixed_point import fixed_point as fixed_point
from jaxqsm.solvers.iterate import iterate as iterate
from jaxqsm.solvers.proximal import shrink as shrink
from jaxqsm.solvers.solve_symmetric import solve_symmetric as solve_symmetric
