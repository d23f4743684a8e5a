"""Standard deviations and posterior samples of χ, and their calibration."""

from jaxqsm.uncertainty.bootstrap import bootstrap as bootstrap
from jaxqsm.uncertainty.conformal import conformal_factor as conformal_factor
from jaxqsm.uncertainty.coverage import cone_energy as cone_energy
from jaxqsm.uncertainty.coverage import coverage as coverage
from jaxqsm.uncertainty.deep_ensemble import deep_ensemble as deep_ensemble
from jaxqsm.uncertainty.diffusion import diffusion as diffusion
from jaxqsm.uncertainty.ensemble import Ensemble as Ensemble
from jaxqsm.uncertainty.ensemble import ensemble as ensemble
from jaxqsm.uncertainty.gibbs import PosteriorSamples as PosteriorSamples
from jaxqsm.uncertainty.gibbs import gibbs as gibbs
from jaxqsm.uncertainty.laplace import LaplaceApproximation as LaplaceApproximation
from jaxqsm.uncertainty.laplace import laplace as laplace
from jaxqsm.uncertainty.noise_propagation import noise_propagation as noise_propagation
