"""NeXtQSM: background removal by a U-Net and inversion by a variational network, trained as one."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.inversion.common import referenced
from jaxqsm.networks.data_consistency import gradient_step, measurement
from jaxqsm.networks.layers import pad_to_multiple, padded
from jaxqsm.networks.strided_u_net import StridedUNet


@dataclasses.dataclass(frozen=True)
class NeXtQSMConfig:
    """Size and units of :class:`NeXtQSM`. The paper's idea; sizes are of our choosing.

    Attributes:
        iterations: of the variational network. Default 7.
        channels: of the first level of either U-Net. Default 16.
        background_depth: halvings of the background's U-Net. Default 4.
        depth: halvings of the regulariser's. Default 2.
        total_std, field_std, chi_std: ppm, of what enters and leaves them. Defaults 0.2, 0.02 and 0.04.
    """

    iterations: int = 7
    channels: int = 16
    background_depth: int = 4
    depth: int = 2
    total_std: float = 0.2
    field_std: float = 0.02
    chi_std: float = 0.04


class NeXtQSM(nnx.Module):
    """Total field to local field by one U-Net; χ goes down ½ step · |Dχ − local|² + R(χ) from there.

    R is the mean size of what a second U-Net makes of χ: a learned regulariser, whose derivative the network
    itself takes.

    Args:
        config: its size.
        rngs: random state.

    References:
        Cognolato et al. 2023, Med Image Anal 84:102700, doi:10.1016/j.media.2022.102700.
    """

    def __init__(self, config: NeXtQSMConfig = NeXtQSMConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.background = StridedUNet(config.channels, config.background_depth, rngs=rngs)
        self.regulariser = StridedUNet(config.channels, config.depth, rngs=rngs)
        self.steps = nnx.Param(jnp.full(config.iterations, 1.0))
        self.gains = nnx.Param(jnp.full(config.iterations, 0.1))

    def __call__(
        self,
        total_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        magnitude: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """χ in ppm, zero outside the mask.

        Args:
            total_field: ppm.
            mask: where it is valid.
            geometry: with a leading batch axis on both leaves.
            magnitude: optional, any unit; weights of the data.
        """
        local = self.local_field(total_field, mask)
        data = jax.vmap(measurement)(local, mask, geometry, magnitude)
        chi = local
        for number in range(self.config.iterations):
            downhill = jax.grad(self._roughness)(chi / self.config.chi_std)
            chi = jax.vmap(gradient_step, in_axes=(0, 0, None))(chi, data, self.steps[number])
            chi = (chi - self.gains[number] * self.config.chi_std * downhill) * mask
        return chi

    def local_field(
        self, total_field: Float[Array, "batch x y z"], mask: Bool[Array, "batch x y z"]
    ) -> Float[Array, "batch x y z"]:
        """Local field in ppm, zero outside the mask."""
        config = self.config
        centred = jax.vmap(referenced)(total_field, mask) / config.total_std
        found = padded(self.background, centred[..., None], 2**config.background_depth)
        return config.field_std * found[..., 0] * mask

    def _roughness(self, chi: Float[Array, "batch x y z"]) -> Float[Array, ""]:
        out = self.regulariser(pad_to_multiple(chi[..., None], 2**self.config.depth))
        return jnp.sum(jnp.sqrt(out**2 + 1e-4))  # smooth, as it is differentiated twice
