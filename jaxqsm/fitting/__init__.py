"""Per-scan optimisation of a network or representation: no training data, no truth."""

from jaxqsm.fitting.deep_image_prior import deep_image_prior as deep_image_prior
from jaxqsm.fitting.fine import fine as fine
from jaxqsm.fitting.implicit_representation import implicit_representation as implicit_representation
from jaxqsm.fitting.zero_shot import zero_shot as zero_shot
