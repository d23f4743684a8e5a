"""The denoiser that LPCNN, SpiNet-QSM, MoDL-QSM and others have in common."""

from __future__ import annotations

import jax
from flax import nnx
from jaxtyping import Array, Float

from jaxqsm.networks.blocks.layers import Convolution, NormalisedConvolution
from jaxqsm.networks.blocks.slabs import by_slabs
from jaxqsm.networks.published_weights import PublishedWeights, Weights

SLAB = 64
"""Voxels along x that are worked on at a time in longer volumes."""


class WideResidual(nnx.Module):
    """Convolution, eight residual blocks of two convolutions, three pointwise layers.

    Args:
        channels: of input and output.
        width: channels between. Default 32.
        blocks: default 8.
        bias: whether the last layer has one; default false.
        dropout: part of the channels that training drops within blocks. Default 0.5, as published.
        rngs: random state; needs a ``dropout`` stream or a default one.

    Source: Zagoruyko & Komodakis 2016, BMVC, doi:10.5244/C.30.87; in the form of Lai et al. 2020, MICCAI,
    doi:10.1007/978-3-030-59713-9_13.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 32,
        blocks: int = 8,
        bias: bool = False,
        dropout: float = 0.5,
        rngs: nnx.Rngs,
    ) -> None:
        self.enter = Convolution(channels, width, bias=False, rngs=rngs)
        self.blocks = nnx.List([_Block(width, dropout, rngs=rngs) for _ in range(blocks)])
        self.points = nnx.List([Convolution(width, width, size=1, bias=False, rngs=rngs) for _ in range(2)])
        self.leave = Convolution(width, channels, size=1, bias=bias, rngs=rngs)
        self.reach = 1 + 2 * blocks

    def __call__(self, images: Float[Array, "batch x y z c"]) -> Float[Array, "batch x y z c"]:
        return by_slabs(self._whole, images, length=SLAB, halo=self.reach)

    def _whole(self, images: Array) -> Array:
        images = jax.nn.relu(self.enter(images))
        for block in self.blocks:
            images = block(images)
        for point in self.points:
            images = jax.nn.relu(point(images))
        return self.leave(images)


class _Block(nnx.Module):
    def __init__(self, width: int, dropout: float, *, rngs: nnx.Rngs) -> None:
        self.first = NormalisedConvolution(width, width, bias=False, rngs=rngs)
        # Whole channels are dropped: neighbouring voxels would give single ones away.
        self.dropout = nnx.Dropout(dropout, broadcast_dims=(1, 2, 3), rngs=rngs)
        self.second = Convolution(width, width, bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs, momentum=0.9, epsilon=1e-5)

    def __call__(self, images: Array) -> Array:
        return jax.nn.relu(images + self.norm(self.second(self.dropout(self.first(images)))))


def from_published(named: PublishedWeights) -> Weights:
    """Read the weights of the denoiser that LPCNN and SpiNet-QSM publish."""
    found = named.torch_layer("gen.0", "denoiser.enter")
    blocks = 0
    while f"gen.2.{blocks}.conv1.weight" in named.weights:
        theirs, ours = f"gen.2.{blocks}", f"denoiser.blocks.{blocks}"
        found |= named.torch_layer(f"{theirs}.conv1", f"{ours}.first.convolution")
        found |= named.torch_norm(f"{theirs}.bn1", f"{ours}.first.norm")
        found |= named.torch_layer(f"{theirs}.conv2", f"{ours}.second")
        found |= named.torch_norm(f"{theirs}.bn2", f"{ours}.norm")
        blocks += 1
    for number, place in enumerate((3, 5)):
        found |= named.torch_layer(f"gen.{place}", f"denoiser.points.{number}")
    return found | named.torch_layer("gen.7", "denoiser.leave")
