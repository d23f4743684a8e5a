"""Total field to susceptibility in one inversion. Every function returns χ in ppm and its valid mask."""

from jaxqsm.single_step.ss_tv import ss_tv as ss_tv
from jaxqsm.single_step.tfi import tfi as tfi
from jaxqsm.single_step.tgv_qsm import tgv_qsm as tgv_qsm
