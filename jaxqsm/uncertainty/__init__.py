"""How sure a map of χ is, and whether that is right."""

from jaxqsm.uncertainty.bootstrap import bootstrap
from jaxqsm.uncertainty.conformal import conformal_factor
from jaxqsm.uncertainty.coverage import cone_energy, coverage
from jaxqsm.uncertainty.deep_ensemble import deep_ensemble
from jaxqsm.uncertainty.diffusion import diffusion
from jaxqsm.uncertainty.ensemble import Ensemble, ensemble
from jaxqsm.uncertainty.gibbs import Draws, gibbs
from jaxqsm.uncertainty.laplace import Posterior, laplace
from jaxqsm.uncertainty.noise_propagation import noise_propagation

__all__ = [
    "Draws",
    "Ensemble",
    "Posterior",
    "bootstrap",
    "cone_energy",
    "conformal_factor",
    "coverage",
    "deep_ensemble",
    "diffusion",
    "ensemble",
    "gibbs",
    "laplace",
    "noise_propagation",
]
