"""Susceptibility-weighted images: magnitude made darker where the field says vein."""

from jaxqsm.weighting.clear_swi import clear_swi as clear_swi
from jaxqsm.weighting.minimum_intensity import minimum_intensity as minimum_intensity
from jaxqsm.weighting.swi import swi as swi
from jaxqsm.weighting.true_swi import true_swi as true_swi
