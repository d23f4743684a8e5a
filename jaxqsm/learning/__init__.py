"""Training: examples, losses, the loop, and what was trained."""

from jaxqsm.learning.config import CONFIGS, DataConfig, TrainingConfig, read_config
from jaxqsm.learning.examples import Example, Examples
from jaxqsm.learning.objective import LOSSES, objective
from jaxqsm.learning.training import Report, train

__all__ = [
    "CONFIGS",
    "LOSSES",
    "DataConfig",
    "Example",
    "Examples",
    "Report",
    "TrainingConfig",
    "objective",
    "read_config",
    "train",
]
