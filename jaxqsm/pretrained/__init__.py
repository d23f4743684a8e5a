"""Methods with the weights that come with the package; a model card lies beside each weight file."""

from jaxqsm.pretrained.learned import learned as learned
from jaxqsm.pretrained.learned_background import learned_background as learned_background
from jaxqsm.pretrained.learned_single_step import learned_single_step as learned_single_step
from jaxqsm.pretrained.learned_standard_deviation import (
    learned_standard_deviation as learned_standard_deviation,
)
from jaxqsm.pretrained.learned_unwrapping import learned_unwrapping as learned_unwrapping
from jaxqsm.pretrained.plug_and_play import plug_and_play as plug_and_play
from jaxqsm.pretrained.qsmnet_plus import qsmnet_plus as qsmnet_plus
from jaxqsm.pretrained.red import red as red
from jaxqsm.pretrained.trained import checkpoint_path as checkpoint_path
from jaxqsm.pretrained.trained import trained_network as trained_network
