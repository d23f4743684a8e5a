"""Methods that run several stages inside: of total field or complex signal to susceptibility."""

from jaxqsm.multi_stage.qsmart import qsmart as qsmart
from jaxqsm.multi_stage.signal_fit import signal_fit as signal_fit
