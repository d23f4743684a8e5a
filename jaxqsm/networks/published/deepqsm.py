"""DeepQSM: a U-Net trained on simple bodies."""

from __future__ import annotations

from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.layers import padded
from jaxqsm.networks.blocks.strided_u_net import StridedUNet, StridedUNetConfig
from jaxqsm.networks.network import Network


class DeepQSM(Network):
    """Local field to χ by a U-Net that learns from simple bodies: train it with ``shapes`` as sources.

    It does not know of voxel size and field direction.

    Args:
        config: its size.
        rngs: random state.

    References:
        Bollmann et al. 2019, NeuroImage 195:373, doi:10.1016/j.neuroimage.2019.03.060.
    """

    def __init__(self, config: StridedUNetConfig = StridedUNetConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.body = StridedUNet(config.channels, config.depth, rngs=rngs)

    def __call__(
        self,
        field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry | None = None,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """In ppm, zero outside the mask. ``geometry`` and ``weights`` are not used."""
        images = (field * mask / self.config.field_std)[..., None]
        return self.config.out_std * padded(self.body, images, 2**self.config.depth)[..., 0] * mask
