"""Networks over our physics, as Flax NNX modules."""

from jaxqsm.networks.catalogue import (
    NETWORKS,
    build,
    flat_weights,
    load_network,
    parameter_count,
    save_weights,
    with_weights,
)
from jaxqsm.networks.convolution import conv3d
from jaxqsm.networks.data_consistency import (
    Measurement,
    closed_form_step,
    gradient_step,
    measurement,
    nonlinear_step,
    proximal_step,
)
from jaxqsm.networks.harmonic_correction import HarmonicCorrection, HarmonicCorrectionConfig
from jaxqsm.networks.lpcnn import LPCNN, LPCNNConfig
from jaxqsm.networks.pretrained import learned, learned_background
from jaxqsm.networks.qsmnet import QSMnet, QSMnetConfig
from jaxqsm.networks.slabs import by_slabs
from jaxqsm.networks.spinet_qsm import SpiNetQSM, SpiNetQSMConfig
from jaxqsm.networks.unrolled import Start, Unrolled, UnrolledConfig
from jaxqsm.networks.xqsm import XQSM, XQSMConfig

__all__ = [
    "LPCNN",
    "NETWORKS",
    "XQSM",
    "HarmonicCorrection",
    "HarmonicCorrectionConfig",
    "LPCNNConfig",
    "Measurement",
    "QSMnet",
    "QSMnetConfig",
    "SpiNetQSM",
    "SpiNetQSMConfig",
    "Start",
    "Unrolled",
    "UnrolledConfig",
    "XQSMConfig",
    "build",
    "by_slabs",
    "closed_form_step",
    "conv3d",
    "flat_weights",
    "gradient_step",
    "learned",
    "learned_background",
    "load_network",
    "measurement",
    "nonlinear_step",
    "parameter_count",
    "proximal_step",
    "save_weights",
    "with_weights",
]
