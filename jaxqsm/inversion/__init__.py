"""Dipole inversion: local field to susceptibility. Every function returns ppm, mean zero in the mask.

`cosmos` and `sti` take the fields of several orientations; `sti` returns a tensor. `ss_tv` takes a total
field, and returns the mask where χ is valid as well; `residual_resharp` makes a local field by it.
"""

from jaxqsm.inversion.amp_pe import amp_pe
from jaxqsm.inversion.bilevel import Known, learn_weight
from jaxqsm.inversion.cosmos import cosmos
from jaxqsm.inversion.cross_validation import choose_weight
from jaxqsm.inversion.fansi_tgv import fansi_tgv
from jaxqsm.inversion.fansi_tv import fansi_tv
from jaxqsm.inversion.hd_qsm import hd_qsm
from jaxqsm.inversion.heidi import heidi
from jaxqsm.inversion.ilsqr import ilsqr
from jaxqsm.inversion.l1_qsm import l1_qsm
from jaxqsm.inversion.medi import medi
from jaxqsm.inversion.ndi import ndi
from jaxqsm.inversion.nltv import nltv
from jaxqsm.inversion.qsmart import qsmart
from jaxqsm.inversion.residual_resharp import residual_resharp
from jaxqsm.inversion.rts import rts
from jaxqsm.inversion.ss_tv import ss_tv
from jaxqsm.inversion.star import star
from jaxqsm.inversion.sti import sti
from jaxqsm.inversion.tfi import tfi
from jaxqsm.inversion.tgv import tgv
from jaxqsm.inversion.tgv_qsm import tgv_qsm
from jaxqsm.inversion.tikhonov import tikhonov
from jaxqsm.inversion.tkd import tkd
from jaxqsm.inversion.tsvd import tsvd
from jaxqsm.inversion.tv import tv
from jaxqsm.inversion.wh_qsm import wh_qsm

__all__ = [
    "Known",
    "amp_pe",
    "choose_weight",
    "cosmos",
    "fansi_tgv",
    "fansi_tv",
    "hd_qsm",
    "heidi",
    "ilsqr",
    "l1_qsm",
    "learn_weight",
    "medi",
    "ndi",
    "nltv",
    "qsmart",
    "residual_resharp",
    "rts",
    "ss_tv",
    "star",
    "sti",
    "tfi",
    "tgv",
    "tgv_qsm",
    "tikhonov",
    "tkd",
    "tsvd",
    "tv",
    "wh_qsm",
]
