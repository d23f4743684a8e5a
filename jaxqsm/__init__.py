"""jaxqsm: differentiable quantitative susceptibility mapping in JAX."""

from jaxqsm import background as background
from jaxqsm import field_mapping as field_mapping
from jaxqsm import fitting as fitting
from jaxqsm import inversion as inversion
from jaxqsm import io as io
from jaxqsm import masking as masking
from jaxqsm import methods as methods
from jaxqsm import metrics as metrics
from jaxqsm import multi_stage as multi_stage
from jaxqsm import networks as networks
from jaxqsm import operators as operators
from jaxqsm import phantoms as phantoms
from jaxqsm import physics as physics
from jaxqsm import pipeline as pipeline
from jaxqsm import pretrained as pretrained
from jaxqsm import relaxometry as relaxometry
from jaxqsm import separation as separation
from jaxqsm import simulation as simulation
from jaxqsm import single_step as single_step
from jaxqsm import solvers as solvers
from jaxqsm import tuning as tuning
from jaxqsm import uncertainty as uncertainty
from jaxqsm import unwrapping as unwrapping
from jaxqsm import variational as variational
from jaxqsm import weighting as weighting
from jaxqsm.geometry import Acquisition as Acquisition
from jaxqsm.geometry import Geometry as Geometry

__version__ = "0.1.0"
