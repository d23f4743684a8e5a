"""Unwrapped multi-echo phase to total field in ppm."""

from jaxqsm.field_mapping.alternating_sign import alternating_sign as alternating_sign
from jaxqsm.field_mapping.alternating_sign import without_alternation as without_alternation
from jaxqsm.field_mapping.bipolar_offset import bipolar_offset as bipolar_offset
from jaxqsm.field_mapping.bipolar_offset import evenly_spaced as evenly_spaced
from jaxqsm.field_mapping.centre_frequency import centre_frequency as centre_frequency
from jaxqsm.field_mapping.centre_frequency import further_turns as further_turns
from jaxqsm.field_mapping.mcpc_3d_s import mcpc_3d_s as mcpc_3d_s
from jaxqsm.field_mapping.nonlinear_fit import nonlinear_fit as nonlinear_fit
from jaxqsm.field_mapping.precision import precision as precision
from jaxqsm.field_mapping.reliability import reliability as reliability
from jaxqsm.field_mapping.weighted_fit import weighted_fit as weighted_fit
