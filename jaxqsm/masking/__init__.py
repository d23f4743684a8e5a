"""Masks of where there is signal worth using."""

from jaxqsm.masking.deepbet import deepbet
from jaxqsm.masking.magnitude import magnitude
from jaxqsm.masking.phase_quality import phase_quality
from jaxqsm.masking.vessels import vessels

__all__ = ["deepbet", "magnitude", "phase_quality", "vessels"]
