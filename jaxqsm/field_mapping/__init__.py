"""Unwrapped multi-echo phase to total field in ppm."""

from jaxqsm.field_mapping.alternating_sign import alternating_sign, without_alternation
from jaxqsm.field_mapping.bipolar_offset import bipolar_offset, evenly_spaced
from jaxqsm.field_mapping.centre_frequency import centre_frequency, further_turns
from jaxqsm.field_mapping.mcpc_3d_s import mcpc_3d_s
from jaxqsm.field_mapping.nonlinear_fit import nonlinear_fit
from jaxqsm.field_mapping.precision import precision
from jaxqsm.field_mapping.reliability import reliability
from jaxqsm.field_mapping.weighted_fit import weighted_fit

__all__ = [
    "alternating_sign",
    "bipolar_offset",
    "centre_frequency",
    "evenly_spaced",
    "further_turns",
    "mcpc_3d_s",
    "nonlinear_fit",
    "precision",
    "reliability",
    "weighted_fit",
    "without_alternation",
]
