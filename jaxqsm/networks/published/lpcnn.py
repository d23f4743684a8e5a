"""LPCNN: learned proximal steps between gradient steps, for any number of head orientations."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks import wide_residual
from jaxqsm.networks.blocks.data_consistency import Measurement, measurement
from jaxqsm.networks.blocks.wide_residual import WideResidual
from jaxqsm.networks.network import Network
from jaxqsm.networks.published_weights import PublishedWeights, Weights

PUBLISHED_STATISTICS = {"chi_std": 0.0289}
"""ppm, mean and standard deviation of the authors' training data, which their weights go with."""


@dataclasses.dataclass(frozen=True)
class LPCNNConfig:
    """Size and units of :class:`LPCNN`. Sizes default to the published ones.

    Attributes:
        iterations: default 3.
        width: channels of the denoiser. Default 32.
        blocks: residual blocks of the denoiser. Default 8.
        dropout: of the denoiser in training. Default 0.5.
        chi_mean, chi_std: ppm; the denoiser works on χ less the mean over the standard deviation. Defaults 0
            and 0.04: those of brains, rounded.
    """

    iterations: int = 3
    width: int = 32
    blocks: int = 8
    dropout: float = 0.5
    chi_mean: float = 0.0
    chi_std: float = 0.04


class LPCNN(Network):
    """χ ← denoiser(χ + step · D (field − Dχ)), from χ = 0.

    With several orientations the first step is the sum of theirs; from then on one is taken after another, as
    in the published code, where each is made of what the one before left.

    Args:
        config: its size.
        rngs: random state.

    References:
        Lai, Aggarwal, van Zijl, Li & Sulam 2020, MICCAI, doi:10.1007/978-3-030-59713-9_13; its code,
        Sulam-Group/LPCNN.
    """

    def __init__(self, config: LPCNNConfig = LPCNNConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.step = nnx.Param(jnp.full((), 4.0))
        self.denoiser = WideResidual(
            1, width=config.width, blocks=config.blocks, dropout=config.dropout, rngs=rngs
        )

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask, from one orientation. ``weights`` are not used."""
        return self.several(local_field[:, None], mask, jax.tree.map(lambda leaf: leaf[:, None], geometry))

    def several(
        self,
        local_fields: Float[Array, "batch orientation x y z"],
        mask: Bool[Array, "batch x y z"],
        geometries: Geometry,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm from registered fields of several orientations.

        Args:
            local_fields: ppm, on one grid.
            mask: where all of them are valid.
            geometries: with leading batch and orientation axes on both leaves.
        """
        config, inside = self.config, mask.astype(local_fields.dtype)
        each = jax.vmap(measurement, in_axes=(0, None, 0))
        data = jax.vmap(each)(local_fields, mask, geometries)
        chi = self.step[...] * jnp.sum(jax.vmap(jax.vmap(lambda d: d.predict(d.field)))(data), axis=1)
        for number in range(config.iterations):
            for which in range(local_fields.shape[1] if number else 0):
                one = jax.tree.map(lambda leaf, which=which: leaf[:, which], data)
                chi = chi + self.step[...] * jax.vmap(_pull)(chi, one)
            standard = inside * (chi - config.chi_mean) / config.chi_std
            chi = inside * (self.denoiser(standard[..., None])[..., 0] * config.chi_std + config.chi_mean)
        return chi


def _pull(chi: Array, data: Measurement) -> Array:
    """D field − D² χ. D² is one filter: the field is not cut in between."""
    return data.predict(data.field) - data.filter(chi, data.kernel**2)


def from_published(named: PublishedWeights) -> Weights:
    """Read the weights of the authors' PyTorch file (Sulam-Group/LPCNN)."""
    return wide_residual.from_published(named) | {"step": named.weights["alpha"]}
