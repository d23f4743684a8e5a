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

VARIANCE_UNIT = 1 / 9
"""ppm²: the published network works on χ times 3 per ppm."""


@dataclasses.dataclass(frozen=True)
class PDIConfig:
    """Size and units of :class:`PDI`. Sizes default to the published ones.

    Attributes:
        channels: of the first level; each deeper one has twice as many. Default 32.
        depth: number of halvings. Default 4.
        field_std, chi_std: ppm; the network sees the field over the former and gives χ over the latter.
            Defaults 0.02 and 0.04: those of brains at 1 mm, rounded.
        mean_variance: to which the variance is brought in the mask before training, which learns it, as a
            part of ``VARIANCE_UNIT``. Default 3e-3, as published; 0 for none.
    """

    channels: int = 32
    depth: int = 4
    field_std: float = 0.02
    chi_std: float = 0.04
    mean_variance: float = 3e-3


class PDI(Network):
    """Local field to mean and variance of χ: one encoder, and a decoder for each.

    Train it with the loss ``likelihood`` on truth, or with ``divergence`` on fields alone. It does not know
    of voxel size and field direction. The variance of each scan is brought to a learned mean, in the mask
    (the published code takes the mean of the whole image).

    Args:
        config: its size.
        rngs: random state.

    References:
        Zhang et al. 2021, MELBA 1:3, arXiv:2009.04251; the mean variance as in its code,
        Jinwei1209/Bayesian_QSM.
    """

    probabilistic: ClassVar[bool] = True

    def __init__(self, config: PDIConfig = PDIConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.mean_variance = nnx.Param(jnp.asarray(config.mean_variance))
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
        variance = jnp.exp(logarithm)
        if config.mean_variance > 0:
            variance = _renormalised(variance, mask, self.mean_variance[...])
        return VoxelwiseNormal(config.chi_std * mean * mask, VARIANCE_UNIT * variance)


def _renormalised(
    variance: Float[Array, "batch x y z"], mask: Bool[Array, "batch x y z"], mean: Array
) -> Float[Array, "batch x y z"]:
    """Bring the mean of each scan down to a given one by a factor, or up to it towards 1."""
    count = jnp.maximum(jnp.sum(mask, (1, 2, 3), keepdims=True), 1)
    now = jnp.sum(variance * mask, (1, 2, 3), keepdims=True) / count
    up = jnp.where(now < mean, (1 - mean) / (1 - jnp.where(now < mean, now, 0)), 1)
    return jnp.where(now < mean, 1 - (1 - variance) * up, variance * mean / now)
