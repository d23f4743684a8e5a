"""QSMnet and QSMnet+: a feed-forward U-Net from local field to χ."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.data_consistency import root_mean_square
from jaxqsm.networks.blocks.layers import padded
from jaxqsm.networks.blocks.u_net import UNet
from jaxqsm.networks.network import Network
from jaxqsm.networks.published_weights import PublishedWeights, Weights

PUBLISHED_STATISTICS = {"field_std": 0.0110, "chi_std": 0.0280}
"""ppm, mean and standard deviation of the authors' training data, which their weights go with."""


@dataclasses.dataclass(frozen=True)
class QSMnetConfig:
    """Size and units of :class:`QSMnet`. Sizes default to the published ones.

    Attributes:
        channels: of the first level; each deeper one has twice as many. Default 32.
        depth: number of halvings. Default 4.
        size: of the kernels. Default 5.
        slope: of the rectifiers below zero: 0.1 (default, QSMnet+) or 0 (QSMnet).
        field_mean, field_std, chi_mean, chi_std: ppm; the network sees and gives values less the mean, over
            the standard deviation. Defaults 0, 0.02, 0 and 0.04: those of brains at 1 mm, rounded.
        scaled: whether each field is brought to ``field_std`` first, and χ back after, so that χ twice as
            strong comes out twice as strong. Batch normalisation over few patches forgets how strong a field
            was; without this a network that is trained so, on scaled fields, cannot know it. Default false,
            as published.
    """

    channels: int = 32
    depth: int = 4
    size: int = 5
    slope: float = 0.1
    field_mean: float = 0.0
    field_std: float = 0.02
    chi_mean: float = 0.0
    chi_std: float = 0.04
    scaled: bool = False


class QSMnet(Network):
    """Local field to χ by a U-Net that has learned one resolution and one orientation.

    It does not know of voxel size and field direction: it is right for scans like those it was trained on. It
    does not use the magnitude either. QSMnet+ is the same network, trained on fields scaled by many factors.

    Args:
        config: its size.
        rngs: random state.

    References:
        Yoon et al. 2018, NeuroImage 179:199, doi:10.1016/j.neuroimage.2018.06.030 (QSMnet);
        Jung et al. 2020, NeuroImage 211:116619, doi:10.1016/j.neuroimage.2020.116619 (QSMnet+).
    """

    def __init__(self, config: QSMnetConfig = QSMnetConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.body = UNet(
            1,
            1,
            [config.channels * 2**level for level in range(config.depth + 1)],
            size=config.size,
            slope=config.slope,
            momentum=0.99,
            epsilon=1e-3,
            rngs=rngs,
        )

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry | None = None,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask. ``geometry`` and ``weights`` are not used."""
        config = self.config
        strength = jnp.ones(len(mask))
        if config.scaled:
            strength = jax.vmap(root_mean_square)(local_field, mask) / config.field_std
        strength = strength[:, None, None, None]
        field = (local_field * mask / strength - config.field_mean) / config.field_std
        out = padded(self.body, field[..., None], 2**config.depth)
        chi = out[..., 0] * config.chi_std + config.chi_mean
        return chi * strength * mask


def from_published(named: PublishedWeights) -> Weights:
    """Read the weights of the authors' TensorFlow checkpoint (SNU-LIST/QSMnet)."""

    def convolution(scope: str, ours: str) -> Weights:
        names = {"scale": "bn/gamma", "bias": "bn/beta", "mean": "bn/mean_sh", "var": "bn/var_sh"}
        return {
            f"{ours}.convolution.kernel": named.tensorflow(scope, "conv_weights"),
            f"{ours}.convolution.bias": named.tensorflow(scope, "biases"),
            **{f"{ours}.norm.{a}": named.tensorflow(scope, b) for a, b in names.items()},
        }

    found: Weights = {}
    for place in range(2):
        found |= convolution(f"l_conv{place + 1}", f"body.encoder.levels.4.{place}")
        for level in range(4):
            found |= convolution(f"conv{level + 1}{place + 1}", f"body.encoder.levels.{level}.{place}")
            found |= convolution(f"conv{level + 5}{place + 1}", f"body.decoder.levels.{level}.{place}")
    for level in range(4):
        # They join what comes from below behind the skipped images, ours before them.
        joining = f"body.decoder.levels.{level}.0.convolution.kernel"
        skipped, below = np.split(found[joining], 2, axis=3)
        found[joining] = np.concatenate([below, skipped], axis=3)
        # (i, j, k, out, in)
        kernel = named.tensorflow(f"deconv{4 - level}", "deconv_weights")
        found[f"body.decoder.ups.{level}.kernel"] = kernel.transpose(4, 0, 1, 2, 3)
        found[f"body.decoder.ups.{level}.bias"] = named.tensorflow(f"deconv{4 - level}", "biases")
    found["body.decoder.leave.kernel"] = named.tensorflow("out", "weights")
    found["body.decoder.leave.bias"] = named.tensorflow("out", "biases")
    return found
