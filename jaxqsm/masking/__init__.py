"""Masks of where there is signal worth using."""

from jaxqsm.masking.magnitude import magnitude
from jaxqsm.masking.phase_quality import phase_quality
from jaxqsm.masking.vessels import vessels

__all__ = ["magnitude", "phase_quality", "vessels"]
