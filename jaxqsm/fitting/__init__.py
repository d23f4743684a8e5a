"""Fits of one scan by physics alone: no training data, and no truth."""

from jaxqsm.fitting.deep_image_prior import deep_image_prior
from jaxqsm.fitting.fine import fine
from jaxqsm.fitting.implicit_representation import Representation, implicit_representation, represent
from jaxqsm.fitting.plug_and_play import plug_and_play, red
from jaxqsm.fitting.signal_fit import SignalFit, signal_fit
from jaxqsm.fitting.zero_shot import zero_shot

__all__ = [
    "Representation",
    "SignalFit",
    "deep_image_prior",
    "fine",
    "implicit_representation",
    "plug_and_play",
    "red",
    "represent",
    "signal_fit",
    "zero_shot",
]
