"""A denoiser of χ: what maps of susceptibility look like, learned apart from any physics."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.block_u_net import BlockUNet
from jaxqsm.networks.blocks.layers import (
    depth_to_space,
    pad_to_multiple,
    space_to_depth,
    unpad,
)
from jaxqsm.networks.network import Network

LEVELS = 8
"""Number of bumps along the logarithm of the noise, on which the network is conditioned."""

LOWEST, HIGHEST = 0.001, 1.0
"""ppm: noise at the outermost bumps."""


@dataclasses.dataclass(frozen=True)
class DenoiserConfig:
    """Size and units of :class:`Denoiser`.

    Attributes:
        channels: at half resolution; twice as many at a quarter. Default 32.
        chi_std: ppm. Default 0.05: that of brains, rounded.
        slab: voxels along x, a multiple of 4, that the U-Net works on at a time in longer volumes. Default
            128.
    """

    channels: int = 32
    chi_std: float = 0.05
    slab: int = 128


class Denoiser(Network):
    """χ with white noise of a known size to its expected value without.

    It is conditioned on the size of voxels, not on the field direction: susceptibility looks the same in all.
    So one denoiser serves any scan, as the prior of plug-and-play inversion and of posterior sampling: the
    expected value less what it was made from, over the variance of the noise, is the slope of the logarithm
    of the density of noisy maps.

    Train it for the task ``denoising`` with the loss ``denoising``.

    Args:
        config: its size.
        rngs: random state.

    References:
        Karras, Aittala, Aila & Laine 2022, NeurIPS, arXiv:2206.00364 (how input and output are scaled);
        Efron 2011, JASA 106:1602, doi:10.1198/jasa.2011.tm11181 (Tweedie's formula).
    """

    def __init__(self, config: DenoiserConfig = DenoiserConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.body = BlockUNet(
            8 * 2, 8, width=config.channels, conditioning=3 + LEVELS, slab=config.slab // 2, rngs=rngs
        )

    def __call__(
        self,
        noisy: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask.

        Args:
            noisy: ppm.
            mask: where χ is.
            geometry: with a leading batch axis on both leaves.
            weights: one over the standard deviation of the noise, 1/ppm, the same in all of the mask;
                default that of noise as large as χ.
        """
        if weights is None:
            return self.denoise(noisy, mask, geometry, jnp.full(len(noisy), self.config.chi_std))
        return self.denoise(noisy, mask, geometry, 1 / jnp.maximum(jnp.max(weights, (1, 2, 3)), 1e-6))

    def denoise(
        self,
        noisy: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        noise: Float[Array, " batch"],
    ) -> Float[Array, "batch x y z"]:
        """Denoise χ given the noise in ppm."""
        inside = mask.astype(noisy.dtype)
        scale = self.config.chi_std
        total = jnp.sqrt(noise**2 + scale**2)[:, None, None, None]
        images = jnp.stack([inside * noisy / total, inside], axis=-1)
        conditioning = jnp.concatenate([jnp.log(geometry.voxel_size), _bumps(noise)], axis=-1)
        blocks = space_to_depth(pad_to_multiple(images, 4))
        change = unpad(depth_to_space(self.body(blocks, conditioning)), mask.shape[1:])[..., 0]
        level = noise[:, None, None, None]
        return inside * ((scale / total) ** 2 * noisy + level * scale / total * change)


def _bumps(noise: Float[Array, " batch"]) -> Float[Array, "batch level"]:
    places = jnp.linspace(jnp.log(LOWEST), jnp.log(HIGHEST), LEVELS)
    spacing = places[1] - places[0]
    return jnp.exp(-0.5 * ((jnp.log(noise)[:, None] - places) / spacing) ** 2)
