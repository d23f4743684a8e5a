"""Susceptibility-weighted images: magnitude made darker where the field says vein."""

from jaxqsm.weighting.clear_swi import clear_swi
from jaxqsm.weighting.minimum_intensity import minimum_intensity
from jaxqsm.weighting.swi import swi
from jaxqsm.weighting.true_swi import true_swi

__all__ = ["clear_swi", "minimum_intensity", "swi", "true_swi"]
