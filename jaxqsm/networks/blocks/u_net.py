"""The U-Net that most published networks are: levels of two convolutions, each at half the resolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxqsm.networks.blocks.layers import (
    Convolution,
    NormalisedConvolution,
    TransposedConvolution,
    max_pool,
)

Images = Float[Array, "batch x y z c"]


class Encoder(nnx.Module):
    """From images to those of every level, finest first; all but the last are for the decoder to join in.

    Args:
        channels: of the input.
        widths: channels of the levels, and last those of the bottom.
        bottom: channels that the bottom's second convolution gives; default as many as its first.
        convolve: makes a layer of ``(channels, out)``.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        bottom: int | None = None,
        *,
        convolve: Callable[[int, int], Any],
    ) -> None:
        outs = [*widths[:-1], widths[-1] if bottom is None else bottom]
        steps = zip([channels, *widths[:-1]], widths, outs, strict=True)
        self.levels = nnx.List([nnx.List([convolve(a, b), convolve(b, c)]) for a, b, c in steps])

    def __call__(self, images: Images) -> list[Images]:
        """Lengths must be multiples of 2 to the number of levels less one."""
        found: list[Images] = []
        for first, second in self.levels:
            images = second(first(max_pool(found[-1]) if found else images))
            found.append(images)
        return found


class Decoder(nnx.Module):
    """From the images of every level to one of the finest.

    Args:
        channels: of the bottom's output.
        widths: channels of the levels, finest first, without the bottom.
        out: channels of the output.
        narrowing: whether a level's second convolution already has the next level's channels, and what goes
            up is rectified (as in Gao et al. 2022); else they are halved on the way up (the usual; default).
        convolve: makes a layer of ``(channels, out)``.
        rngs: random state.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        out: int,
        *,
        narrowing: bool = False,
        convolve: Callable[[int, int], Any],
        rngs: nnx.Rngs,
    ) -> None:
        ups, norms, levels = [], [], []
        falling = list(reversed(widths))
        for width, following in zip(falling, [*falling[1:], falling[-1]], strict=True):
            ups.append(TransposedConvolution(channels, width, rngs=rngs))
            if narrowing:
                norms.append(nnx.BatchNorm(width, momentum=0.9, epsilon=1e-5, rngs=rngs))
            channels = following if narrowing else width
            levels.append(nnx.List([convolve(2 * width, width), convolve(width, channels)]))
        self.ups, self.norms, self.levels = nnx.List(ups), nnx.List(norms), nnx.List(levels)
        self.leave = Convolution(channels, out, size=1, rngs=rngs)

    def __call__(self, levels: list[Images]) -> Images:
        *skips, images = levels
        for number, (first, second) in enumerate(self.levels):
            images = self.ups[number](images)
            if self.norms:
                images = jax.nn.relu(self.norms[number](images))
            images = second(first(jnp.concatenate([images, skips[-1 - number]], axis=-1)))
        return self.leave(images)


def down_and_up(
    images: Images,
    encoders: Sequence[Callable[[Images], Images]],
    ups: Sequence[Callable[[Images], Images]],
    decoders: Sequence[Callable[[Images], Images]],
    *,
    bottom: Callable[[Images], Images] = lambda images: images,
) -> Images:
    """Run a U-Net of pooling and skip connections with any levels.

    Args:
        images: lengths must be multiples of 2 to the number of ``ups``.
        encoders: of the levels, finest first, the deepest last.
        ups: to the resolution of each level, finest first.
        decoders: of each level's images, what came up before what was skipped; finest first.
        bottom: of the deepest level's images. Default: as they are.
    """
    skips: list[Images] = []
    for encode in encoders:
        images = encode(max_pool(skips[-1]) if skips else images)
        skips.append(images)
    images = bottom(skips.pop())
    for up, decode, skip in reversed(list(zip(ups, decoders, skips, strict=True))):
        images = decode(jnp.concatenate([up(images), skip], axis=-1))
    return images


class UNet(nnx.Module):
    """An encoder and a decoder.

    Args:
        channels: of the input.
        out: of the output.
        widths: channels of the levels, finest first, and last those of the bottom.
        narrowing: see :class:`Decoder`; the bottom then gives as many channels as the level above it.
        size: of the kernels; default 3.
        slope: of the rectifiers below zero; default 0.
        momentum: of batch normalisation; default 0.9.
        epsilon: of batch normalisation; default 1e-5.
        rngs: random state.

    Source: Çiçek et al. 2016, MICCAI, doi:10.1007/978-3-319-46723-8_49.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        widths: Sequence[int],
        *,
        narrowing: bool = False,
        size: int = 3,
        slope: float = 0.0,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        rngs: nnx.Rngs,
    ) -> None:
        convolve = partial(
            NormalisedConvolution, size=size, slope=slope, momentum=momentum, epsilon=epsilon, rngs=rngs
        )
        bottom = widths[-2] if narrowing else widths[-1]
        self.encoder = Encoder(channels, widths, bottom, convolve=convolve)
        self.decoder = Decoder(bottom, widths[:-1], out, narrowing=narrowing, convolve=convolve, rngs=rngs)

    def __call__(self, images: Images) -> Float[Array, "batch x y z o"]:
        """Lengths must be multiples of 2 to the number of widths less one."""
        return self.decoder(self.encoder(images))
