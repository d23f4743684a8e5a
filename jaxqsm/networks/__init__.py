"""Networks over our physics, as Flax NNX modules: ``published`` ones, ``ours``, and the ``blocks`` of both.

:data:`NETWORKS` is the list, :func:`build` makes one of it, :class:`Network` is what each of them offers.
"""

from jaxqsm.networks.blocks.convolution import conv3d as conv3d
from jaxqsm.networks.blocks.data_consistency import Measurement as Measurement
from jaxqsm.networks.blocks.data_consistency import closed_form_step as closed_form_step
from jaxqsm.networks.blocks.data_consistency import gradient_step as gradient_step
from jaxqsm.networks.blocks.data_consistency import measurement as measurement
from jaxqsm.networks.blocks.data_consistency import nonlinear_step as nonlinear_step
from jaxqsm.networks.blocks.data_consistency import proximal_step as proximal_step
from jaxqsm.networks.blocks.slabs import by_slabs as by_slabs
from jaxqsm.networks.network import FunctionNetwork as FunctionNetwork
from jaxqsm.networks.network import Network as Network
from jaxqsm.networks.network import VoxelwiseNormal as VoxelwiseNormal
from jaxqsm.networks.network import as_network as as_network
from jaxqsm.networks.registry import NETWORKS as NETWORKS
from jaxqsm.networks.registry import Family as Family
from jaxqsm.networks.registry import build as build
from jaxqsm.networks.weights_file import flat_weights as flat_weights
from jaxqsm.networks.weights_file import load_network as load_network
from jaxqsm.networks.weights_file import parameter_count as parameter_count
from jaxqsm.networks.weights_file import read_notes as read_notes
from jaxqsm.networks.weights_file import save_weights as save_weights
from jaxqsm.networks.weights_file import with_weights as with_weights
