"""iQSM+: iQSM with every layer conditioned on the field direction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.convolution import conv3d
from jaxqsm.networks.blocks.layers import Convolution, TransposedConvolution
from jaxqsm.networks.blocks.u_net import Images, down_and_up
from jaxqsm.networks.published.iqsm import IQSM, phase_filters
from jaxqsm.networks.published_weights import PublishedWeights, Weights

CODE = 5
"""Numbers that the field's direction is made into, as published."""

HIDDEN = 10
"""Width of the small networks that read the direction, as published."""


class IQSMPlus(IQSM):
    """Wrapped phase of one echo to χ, for scans of any orientation.

    The direction of the field, as a code, makes a 3³ kernel and the size and shift of every channel for each
    layer; what that kernel finds in the sum of the layer's channels is added to what the layer itself finds.

    Args:
        config: its size, a :class:`jaxqsm.networks.published.iqsm.IQSMConfig`; by default as published.
        rngs: random state.

    References:
        Gao et al. 2024, Med Image Anal 94:103160, doi:10.1016/j.media.2024.103160.
    """

    @staticmethod
    def make_body(channels: int, widths: list[int], rngs: nnx.Rngs) -> Any:
        """Make the U-Net as in :class:`IQSM`, conditioned on the direction."""
        return _OrientedUNet(channels, widths, rngs=rngs)

    def through(self, images: Images, geometry: Geometry | None) -> Images:
        """Compute the correction that is added to the filtered phase.

        Raises:
            ValueError: no geometry, which needs a leading batch axis on both leaves.
        """
        if geometry is None:
            raise ValueError("iQSM+ needs the geometry: it goes by the direction of the field")
        return self.body(images, geometry.unit_b0_dir)


class _OrientedUNet(nnx.Module):
    def __init__(self, channels: int, widths: Sequence[int], *, rngs: nnx.Rngs) -> None:
        *levels, bottom = widths
        self.coder = nnx.List([nnx.Linear(3, 3, rngs=rngs), nnx.Linear(3, CODE, rngs=rngs)])
        self.enter = _Oriented(channels, channels, rngs=rngs)
        ends = [levels[0], *levels[:-1]]
        befores = [channels, *levels]
        self.encoders = nnx.List([_Twice(a, b, b, rngs=rngs) for a, b in zip(befores, levels, strict=False)])
        self.encoders.append(_Twice(levels[-1], bottom, levels[-1], rngs=rngs))
        self.ups = nnx.List([_Up(w, rngs=rngs) for w in levels])
        self.decoders = nnx.List(
            [_Twice(2 * w, w, out, rngs=rngs) for w, out in zip(levels, ends, strict=True)]
        )
        self.leave = Convolution(levels[0], 1, size=1, rngs=rngs)

    def __call__(self, images: Images, direction: Float[Array, "batch 3"]) -> Images:
        code = self.coder[1](jax.nn.gelu(self.coder[0](direction), approximate=False))
        encoders, decoders = (
            [partial(f, code=code) for f in side] for side in (self.encoders, self.decoders)
        )
        return self.leave(down_and_up(self.enter(images, code), encoders, self.ups, decoders))


class _Oriented(nnx.Module):
    """A convolution, beside it one whose kernel and outputs the code makes; normalised and rectified."""

    def __init__(self, channels: int, out: int, *, rngs: nnx.Rngs) -> None:
        self.convolution = Convolution(channels, out, rngs=rngs)
        self.kernel = _reader(27, rngs)
        self.style = _reader(2 * out, rngs)
        self.norm = nnx.BatchNorm(out, momentum=0.9, epsilon=1e-5, rngs=rngs)

    def __call__(self, images: Images, code: Float[Array, "batch code"]) -> Images:
        kernels = _read(self.kernel, code).reshape(-1, 3, 3, 3, 1, 1)
        together = images.sum(-1, keepdims=True)
        found = jax.vmap(lambda image, kernel: conv3d(image[None], kernel)[0])(together, kernels)
        size, shift = jnp.split(_read(self.style, code)[:, None, None, None], 2, axis=-1)
        return jax.nn.relu(self.norm(self.convolution(images) + size * found + shift))


class _Twice(nnx.Module):
    def __init__(self, channels: int, between: int, out: int, *, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([_Oriented(channels, between, rngs=rngs), _Oriented(between, out, rngs=rngs)])

    def __call__(self, images: Images, code: Float[Array, "batch code"]) -> Images:
        return self.layers[1](self.layers[0](images, code), code)


class _Up(nnx.Module):
    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.convolution = TransposedConvolution(width, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, momentum=0.9, epsilon=1e-5, rngs=rngs)

    def __call__(self, images: Images) -> Images:
        return jax.nn.relu(self.norm(self.convolution(images)))


def _reader(count: int, rngs: nnx.Rngs) -> nnx.List:
    return nnx.List([nnx.Linear(CODE, HIDDEN, rngs=rngs), nnx.Linear(HIDDEN, count, rngs=rngs)])


def _read(reader: nnx.List, code: Float[Array, "batch code"]) -> Float[Array, "batch count"]:
    return reader[1](jax.nn.silu(reader[0](jax.nn.silu(code))))


def from_published(named: PublishedWeights) -> Weights:
    """Read the weights of the authors' PyTorch file (sunhongfu/deepMRI)."""
    prefix, found = phase_filters(named)

    def oriented(theirs: str, ours: str) -> Weights:
        found = named.torch_layer(f"{theirs}.EncodeConv.0", f"{ours}.convolution")
        found |= named.torch_norm(f"{theirs}.BN_RELU.0", f"{ours}.norm")
        for their_reader, reader in (("embed_hwd", "kernel"), ("embed_c", "style")):
            for number, place in enumerate((1, 3)):
                found |= named.torch_linear(
                    f"{theirs}.{their_reader}.embd.{place}", f"{ours}.{reader}.{number}"
                )
        return found

    def twice(theirs: str, ours: str) -> Weights:
        layers = [oriented(f"{theirs}.embd_layer{i + 1}", f"{ours}.layers.{i}") for i in range(2)]
        return layers[0] | layers[1]

    for number, place in enumerate((0, 2)):
        found |= named.torch_linear(f"{prefix}Z_embed.{place}", f"body.coder.{number}")
    found |= oriented(f"{prefix}ini_embd_layer", "body.enter")
    depth = 0
    while f"{prefix}EncodeConvs.{depth}.embd_layer1.EncodeConv.0.weight" in named.weights:
        found |= twice(f"{prefix}EncodeConvs.{depth}", f"body.encoders.{depth}")
        depth += 1
    found |= twice(f"{prefix}MidConv1", f"body.encoders.{depth}")
    for level in range(depth):
        theirs = f"{prefix}DecodeConvs.{depth - 1 - level}"  # deepest first
        found |= named.torch_layer(f"{theirs}.up.0", f"body.ups.{level}.convolution", transposed=True)
        found |= named.torch_norm(f"{theirs}.up.1", f"body.ups.{level}.norm")
        found |= twice(theirs, f"body.decoders.{level}")
    return found | named.torch_layer(f"{prefix}FinalConv", "body.leave")
