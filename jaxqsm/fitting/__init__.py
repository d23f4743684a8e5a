"""Fits of one scan by physics alone: no training, and no truth."""

from jaxqsm.fitting.signal_fit import SignalFit, signal_fit

__all__ = ["SignalFit", "signal_fit"]
