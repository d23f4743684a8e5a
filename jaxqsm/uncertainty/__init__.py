"""How sure a map of χ is, and whether that is right."""

from jaxqsm.uncertainty.coverage import cone_energy, coverage
from jaxqsm.uncertainty.laplace import Posterior, laplace
from jaxqsm.uncertainty.noise_propagation import noise_propagation

__all__ = ["Posterior", "cone_energy", "coverage", "laplace", "noise_propagation"]
