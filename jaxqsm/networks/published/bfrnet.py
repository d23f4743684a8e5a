"""BFRnet: background removal by a U-Net of octave convolutions."""

from __future__ import annotations

from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.network import Network
from jaxqsm.networks.published.xqsm import XQSM, XQSMConfig


class BFRnet(Network):
    """Total to local field in ppm: the network finds the background, which is then subtracted.

    The octave U-Net is that of :class:`~jaxqsm.networks.published.xqsm.XQSM`.

    Args:
        config: its size.
        rngs: random state.

    References:
        Zhu et al. 2022, Magn Reson Imaging 91:149 (arXiv:2204.02760).
    """

    def __init__(self, config: XQSMConfig = XQSMConfig(), *, rngs: nnx.Rngs) -> None:
        self.background = XQSM(config, rngs=rngs)

    def __call__(
        self,
        total_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry | None = None,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Compute the local field in ppm. ``geometry`` and ``weights`` are not used."""
        return total_field * mask - self.background(total_field, mask)
