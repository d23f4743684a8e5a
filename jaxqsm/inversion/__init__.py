"""Dipole inversion: local field to susceptibility. Every function returns ppm, mean zero in the mask.

`cosmos` and `sti` take the fields of several orientations; `sti` returns a tensor.
"""

from jaxqsm.inversion.amp_pe import amp_pe as amp_pe
from jaxqsm.inversion.cosmos import cosmos as cosmos
from jaxqsm.inversion.fansi_tgv import fansi_tgv as fansi_tgv
from jaxqsm.inversion.fansi_tv import fansi_tv as fansi_tv
from jaxqsm.inversion.hd_qsm import hd_qsm as hd_qsm
from jaxqsm.inversion.heidi import heidi as heidi
from jaxqsm.inversion.ilsqr import ilsqr as ilsqr
from jaxqsm.inversion.l1_qsm import l1_qsm as l1_qsm
from jaxqsm.inversion.medi import medi as medi
from jaxqsm.inversion.ndi import ndi as ndi
from jaxqsm.inversion.nltv import nltv as nltv
from jaxqsm.inversion.rts import rts as rts
from jaxqsm.inversion.star import star as star
from jaxqsm.inversion.sti import sti as sti
from jaxqsm.inversion.tgv import tgv as tgv
from jaxqsm.inversion.tikhonov import tikhonov as tikhonov
from jaxqsm.inversion.tkd import tkd as tkd
from jaxqsm.inversion.tsvd import tsvd as tsvd
from jaxqsm.inversion.tv import tv as tv
from jaxqsm.inversion.wh_qsm import wh_qsm as wh_qsm
