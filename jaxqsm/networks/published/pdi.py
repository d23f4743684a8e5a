"""PDI: probabilistic dipole inversion, a U-Net that says how sure it is."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.layers import NormalisedConvolution, pad_to_multiple, unpad
from jaxqsm.networks.blocks.u_net import Decoder, Encoder
from jaxqsm.networks.network import Network, VoxelwiseNormal


@dataclasses.dataclass(frozen=True)
class PDIConfig:
    """Size and units of :class:`PDI`. Sizes default to the published ones.

    Attributes:
        channels: of the first level; each deeper one has twice as many. Default 32.
        depth: number of halvings. Default 4.
        field_std, chi_std: ppm; the network sees the field over the former and gives χ over the latter.
            Defaults 0.02 and 0.04: those of brains at 1 mm, rounded.
    """

    channels: int = 32
    depth: int = 4
    field_std: float = 0.02
    chi_std: float = 0.04


class PDI(Network):
    """Local field to mean and variance of χ: one encoder, and a decoder for each.

    Train it with the loss ``likelihood`` on truth, or with ``divergence`` on fields alone. It does not know
    of voxel size and field direction.

    Args:
        config: its size.
        rngs: random state.

    References:
        Zhang et al. 2021, MELBA 1:3, arXiv:2009.04251.
    """

    probabilistic: ClassVar[bool] = True

    def __init__(self, config: PDIConfig = PDIConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        widths = [config.channels * 2**level for level in range(config.depth + 1)]
        convolve = partial(NormalisedConvolution, rngs=rngs)
        self.encoder = Encoder(1, widths, convolve=convolve)
        self.mean, self.variance = (
            Decoder(widths[-1], widths[:-1], 1, convolve=convolve, rngs=rngs) for _ in range(2)
        )

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry | None = None,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """The mean of :meth:`posterior`."""
        return self.posterior(local_field, mask, geometry, weights).mean

    def posterior(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry | None = None,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> VoxelwiseNormal:
        """Predict χ from a field in ppm. ``geometry`` and ``weights`` are not used."""
        config = self.config
        field = local_field * mask / config.field_std
        levels = self.encoder(pad_to_multiple(field[..., None], 2**config.depth))
        mean, logarithm = (unpad(d(levels), mask.shape[1:])[..., 0] for d in (self.mean, self.variance))
        return VoxelwiseNormal(config.chi_std * mean * mask, config.chi_std**2 * jnp.exp(logarithm))
