"""Fits of one scan by physics alone: no training data, and no truth."""

from jaxqsm.fitting.deep_image_prior import deep_image_prior
from jaxqsm.fitting.fine import fine
from jaxqsm.fitting.implicit_representation import Representation, implicit_representation, represent
from jaxqsm.fitting.signal_fit import SignalFit, signal_fit

__all__ = [
    "Representation",
    "SignalFit",
    "deep_image_prior",
    "fine",
    "implicit_representation",
    "represent",
    "signal_fit",
]
