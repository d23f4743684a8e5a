"""Networks over our physics, as Flax NNX modules."""

from jaxqsm.networks.adain_qsm import AdaINQSM, AdaINQSMConfig
from jaxqsm.networks.auto_qsm import AutoQSM, AutoQSMConfig
from jaxqsm.networks.bfrnet import BFRnet
from jaxqsm.networks.catalogue import (
    NETWORKS,
    build,
    flat_weights,
    load_network,
    parameter_count,
    save_weights,
    with_weights,
)
from jaxqsm.networks.chi_sepnet import ChiSepnet, ChiSepnetConfig
from jaxqsm.networks.convolution import conv3d
from jaxqsm.networks.data_consistency import (
    Measurement,
    closed_form_step,
    gradient_step,
    measurement,
    nonlinear_step,
    proximal_step,
)
from jaxqsm.networks.denoiser import Denoiser, DenoiserConfig
from jaxqsm.networks.error_deviation import ErrorDeviation, ErrorDeviationConfig
from jaxqsm.networks.harmonic_correction import HarmonicCorrection, HarmonicCorrectionConfig
from jaxqsm.networks.iqsm import IQSM, IQSMConfig
from jaxqsm.networks.iqsm_plus import IQSMPlus
from jaxqsm.networks.ir2qsm import IR2QSM, IR2QSMConfig
from jaxqsm.networks.lpcnn import LPCNN, LPCNNConfig
from jaxqsm.networks.modl_qsm import MoDLQSM, MoDLQSMConfig
from jaxqsm.networks.neumann import Neumann, NeumannConfig
from jaxqsm.networks.nextqsm import NeXtQSM, NeXtQSMConfig
from jaxqsm.networks.pdi import PDI, PDIConfig, Posterior
from jaxqsm.networks.phu_net import PHUNet, PHUNetConfig
from jaxqsm.networks.pretrained import (
    learned,
    learned_background,
    learned_deviation,
    learned_single_step,
    learned_unwrapping,
    qsmnet_plus,
    trained_network,
)
from jaxqsm.networks.proximal_vn import LearnedNDIConfig, ProximalVN, ProximalVNConfig
from jaxqsm.networks.qsm_invnet import QSMInvNet, QSMInvNetConfig
from jaxqsm.networks.qsmgan import QSMGAN, Critic, QSMGANConfig
from jaxqsm.networks.qsmnet import QSMnet, QSMnetConfig
from jaxqsm.networks.single_step import SingleStep, SingleStepConfig
from jaxqsm.networks.slabs import by_slabs
from jaxqsm.networks.spinet_qsm import SpiNetQSM, SpiNetQSMConfig
from jaxqsm.networks.strided_u_net import DeepQSM, SHARQnet, StridedUNetConfig
from jaxqsm.networks.u_net import UNet
from jaxqsm.networks.unrolled import Start, Unrolled, UnrolledConfig
from jaxqsm.networks.vandi import VaNDI, VaNDIConfig
from jaxqsm.networks.xqsm import XQSM, XQSMConfig

__all__ = [
    "IQSM",
    "IR2QSM",
    "LPCNN",
    "NETWORKS",
    "PDI",
    "QSMGAN",
    "XQSM",
    "AdaINQSM",
    "AdaINQSMConfig",
    "AutoQSM",
    "AutoQSMConfig",
    "BFRnet",
    "ChiSepnet",
    "ChiSepnetConfig",
    "Critic",
    "DeepQSM",
    "Denoiser",
    "DenoiserConfig",
    "ErrorDeviation",
    "ErrorDeviationConfig",
    "HarmonicCorrection",
    "HarmonicCorrectionConfig",
    "IQSMConfig",
    "IQSMPlus",
    "IR2QSMConfig",
    "LPCNNConfig",
    "LearnedNDIConfig",
    "Measurement",
    "MoDLQSM",
    "MoDLQSMConfig",
    "NeXtQSM",
    "NeXtQSMConfig",
    "Neumann",
    "NeumannConfig",
    "PDIConfig",
    "PHUNet",
    "PHUNetConfig",
    "Posterior",
    "ProximalVN",
    "ProximalVNConfig",
    "QSMGANConfig",
    "QSMInvNet",
    "QSMInvNetConfig",
    "QSMnet",
    "QSMnetConfig",
    "SHARQnet",
    "SingleStep",
    "SingleStepConfig",
    "SpiNetQSM",
    "SpiNetQSMConfig",
    "Start",
    "StridedUNetConfig",
    "UNet",
    "Unrolled",
    "UnrolledConfig",
    "VaNDI",
    "VaNDIConfig",
    "XQSMConfig",
    "build",
    "by_slabs",
    "closed_form_step",
    "conv3d",
    "flat_weights",
    "gradient_step",
    "learned",
    "learned_background",
    "learned_deviation",
    "learned_single_step",
    "learned_unwrapping",
    "load_network",
    "measurement",
    "nonlinear_step",
    "parameter_count",
    "proximal_step",
    "qsmnet_plus",
    "save_weights",
    "trained_network",
    "with_weights",
]
