"""Decay of the magnitude over echoes: R2* in 1/s."""

from jaxqsm.relaxometry.arlo import arlo as arlo
from jaxqsm.relaxometry.log_linear import log_linear as log_linear
from jaxqsm.relaxometry.nonlinear import nonlinear as nonlinear
