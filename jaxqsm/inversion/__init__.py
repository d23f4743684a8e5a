"""Dipole inversion: local field to susceptibility. Every function returns ppm, mean zero in the mask."""

from jaxqsm.inversion.ndi import ndi
from jaxqsm.inversion.tikhonov import tikhonov
from jaxqsm.inversion.tkd import tkd
from jaxqsm.inversion.tsvd import tsvd
from jaxqsm.inversion.tv import tv

__all__ = ["ndi", "tikhonov", "tkd", "tsvd", "tv"]
