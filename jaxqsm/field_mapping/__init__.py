"""Unwrapped multi-echo phase to total field in ppm."""

from jaxqsm.field_mapping.mcpc_3d_s import mcpc_3d_s
from jaxqsm.field_mapping.precision import precision
from jaxqsm.field_mapping.reliability import reliability
from jaxqsm.field_mapping.weighted_fit import weighted_fit

__all__ = ["mcpc_3d_s", "precision", "reliability", "weighted_fit"]
