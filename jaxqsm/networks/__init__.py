"""Networks over our physics, as Flax NNX modules."""

from jaxqsm.networks.catalogue import NETWORKS, build, load_network, parameter_count, save_weights
from jaxqsm.networks.convolution import conv3d
from jaxqsm.networks.data_consistency import (
    Measurement,
    closed_form_step,
    gradient_step,
    measurement,
    nonlinear_step,
    proximal_step,
)
from jaxqsm.networks.pretrained import learned
from jaxqsm.networks.slabs import by_slabs
from jaxqsm.networks.unrolled import Unrolled, UnrolledConfig

__all__ = [
    "NETWORKS",
    "Measurement",
    "Unrolled",
    "UnrolledConfig",
    "build",
    "by_slabs",
    "closed_form_step",
    "conv3d",
    "gradient_step",
    "learned",
    "load_network",
    "measurement",
    "nonlinear_step",
    "parameter_count",
    "proximal_step",
    "save_weights",
]
