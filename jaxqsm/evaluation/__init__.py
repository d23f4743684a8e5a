"""A fixed set of scans and sweeps that every method, classical or learned, is measured on."""

from jaxqsm.evaluation.figures import draw_sweeps as draw_sweeps
from jaxqsm.evaluation.scans import EVALUATION_SCANS as EVALUATION_SCANS
from jaxqsm.evaluation.scans import EvaluationScan as EvaluationScan
from jaxqsm.evaluation.scoring import SCORES as SCORES
from jaxqsm.evaluation.scoring import score as score
from jaxqsm.evaluation.stress import Outcome as Outcome
from jaxqsm.evaluation.stress import stress as stress
from jaxqsm.evaluation.sweeps import SWEEPS as SWEEPS
from jaxqsm.evaluation.sweeps import Sweep as Sweep
from jaxqsm.evaluation.table import sweep_tables as sweep_tables
from jaxqsm.evaluation.trial import Trial as Trial
from jaxqsm.evaluation.trial import make_trial as make_trial
