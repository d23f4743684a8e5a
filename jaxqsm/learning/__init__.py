"""Training: examples, losses, the loop, and what was trained."""

from jaxqsm.learning.checkpoints import read_checkpoint
from jaxqsm.learning.config import CONFIGS, DataConfig, TrainingConfig, read_config
from jaxqsm.learning.convert import CONVERTIBLE, convert_weights
from jaxqsm.learning.examples import Example, Examples
from jaxqsm.learning.objective import LOSSES, POSTERIOR_LOSSES, objective
from jaxqsm.learning.training import Report, train

__all__ = [
    "CONFIGS",
    "CONVERTIBLE",
    "LOSSES",
    "POSTERIOR_LOSSES",
    "DataConfig",
    "Example",
    "Examples",
    "Report",
    "TrainingConfig",
    "convert_weights",
    "objective",
    "read_checkpoint",
    "read_config",
    "train",
]
