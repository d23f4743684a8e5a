"""A fixed set of scans and sweeps that every method, classical or learned, is measured on."""

from jaxqsm.evaluation.figures import draw_sweeps
from jaxqsm.evaluation.scans import EVALUATION_SCANS, EvaluationScan
from jaxqsm.evaluation.scoring import SCORES, score
from jaxqsm.evaluation.stress import Outcome, stress
from jaxqsm.evaluation.sweeps import SWEEPS, Sweep
from jaxqsm.evaluation.table import sweep_tables
from jaxqsm.evaluation.trial import Trial, make_trial

__all__ = [
    "EVALUATION_SCANS",
    "SCORES",
    "SWEEPS",
    "EvaluationScan",
    "Outcome",
    "Sweep",
    "Trial",
    "draw_sweeps",
    "make_trial",
    "score",
    "stress",
    "sweep_tables",
]
