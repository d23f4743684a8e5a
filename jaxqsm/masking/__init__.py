"""Masks of where there is signal worth using."""

from jaxqsm.masking.deepbet import deepbet
from jaxqsm.masking.magnitude import magnitude
from jaxqsm.masking.object_scale import is_cut_out, object_scale
from jaxqsm.masking.phase_quality import phase_quality
from jaxqsm.masking.vessels import vessels

__all__ = ["deepbet", "is_cut_out", "magnitude", "object_scale", "phase_quality", "vessels"]
