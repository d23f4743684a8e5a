"""Training: examples, losses, the loop, and what was trained."""

from jaxqsm.learning.checkpoints import read_checkpoint as read_checkpoint
from jaxqsm.learning.config import CONFIGS as CONFIGS
from jaxqsm.learning.config import DataConfig as DataConfig
from jaxqsm.learning.config import TrainingConfig as TrainingConfig
from jaxqsm.learning.config import read_config as read_config
from jaxqsm.learning.convert import CONVERTIBLE as CONVERTIBLE
from jaxqsm.learning.convert import convert_weights as convert_weights
from jaxqsm.learning.examples import Example as Example
from jaxqsm.learning.examples import ExampleStream as ExampleStream
from jaxqsm.learning.objective import LOSSES as LOSSES
from jaxqsm.learning.objective import POSTERIOR_LOSSES as POSTERIOR_LOSSES
from jaxqsm.learning.objective import objective as objective
from jaxqsm.learning.scan_examples import ScanExamples as ScanExamples
from jaxqsm.learning.simulated_examples import SimulatedExamples as SimulatedExamples
from jaxqsm.learning.training import Report as Report
from jaxqsm.learning.training import train as train
