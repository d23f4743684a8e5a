"""Masks of where there is signal worth using."""

from jaxqsm.masking.deepbet import deepbet as deepbet
from jaxqsm.masking.magnitude import magnitude as magnitude
from jaxqsm.masking.object_scale import is_cut_out as is_cut_out
from jaxqsm.masking.object_scale import object_scale as object_scale
from jaxqsm.masking.phase_quality import phase_quality as phase_quality
from jaxqsm.masking.vessels import vessels as vessels
