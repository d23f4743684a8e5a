"""Unwrapped multi-echo phase to total field in ppm."""

from jaxqsm.field_mapping.bipolar_offset import bipolar_offset, evenly_spaced
from jaxqsm.field_mapping.mcpc_3d_s import mcpc_3d_s
from jaxqsm.field_mapping.nonlinear_fit import nonlinear_fit
from jaxqsm.field_mapping.precision import precision
from jaxqsm.field_mapping.reliability import reliability
from jaxqsm.field_mapping.weighted_fit import weighted_fit

__all__ = [
    "bipolar_offset",
    "evenly_spaced",
    "mcpc_3d_s",
    "nonlinear_fit",
    "precision",
    "reliability",
    "weighted_fit",
]
