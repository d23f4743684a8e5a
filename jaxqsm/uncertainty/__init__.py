"""How sure a map of χ is, and whether that is right."""

from jaxqsm.uncertainty.coverage import cone_energy, coverage
from jaxqsm.uncertainty.gibbs import Draws, gibbs
from jaxqsm.uncertainty.laplace import Posterior, laplace
from jaxqsm.uncertainty.noise_propagation import noise_propagation

__all__ = ["Draws", "Posterior", "cone_energy", "coverage", "gibbs", "laplace", "noise_propagation"]
