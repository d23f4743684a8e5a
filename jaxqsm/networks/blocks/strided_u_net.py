"""The U-Net of DeepQSM, SHARQnet and NeXtQSM: strides instead of pooling, on the way up as well."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxqsm.networks.blocks.layers import Convolution


@dataclasses.dataclass(frozen=True)
class StridedUNetConfig:
    """Size and units of :class:`jaxqsm.networks.published.deepqsm.DeepQSM` and
    :class:`jaxqsm.networks.published.sharqnet.SHARQnet`; sizes are of our choosing.

    Attributes:
        channels: of the first level; each deeper one has twice as many, up to 512. Default 16.
        depth: number of halvings. Default 4.
        field_std: ppm, of the field that the network sees. Default 0.02: local; total ones have 0.2.
        out_std: ppm, of what it gives. Default 0.04, of χ in brains.
    """

    channels: int = 16
    depth: int = 4
    field_std: float = 0.02
    out_std: float = 0.04


class StridedUNet(nnx.Module):
    """Convolutions of stride 2 down, transposed ones up, and skipped images joined in.

    Args:
        channels: of the first level.
        depth: number of halvings.
        rectifier: after every layer but the last. Default ``jax.nn.elu``.
        rngs: random state.

    Source: Cognolato et al. 2023, Med Image Anal 84:102700, doi:10.1016/j.media.2022.102700.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        rectifier: Callable[[Array], Array] = jax.nn.elu,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.rectifier = rectifier
        widths = [min(channels * 2**level, 512) for level in range(depth + 1)]
        self.enter = Convolution(1, widths[0], rngs=rngs)
        self.downs = nnx.List([Convolution(a, b, rngs=rngs) for a, b in itertools.pairwise(widths)])
        incoming = [widths[-1], *(2 * w for w in widths[-2:0:-1])]
        self.ups = nnx.List(
            [Convolution(a, b, rngs=rngs) for a, b in zip(incoming, widths[-2::-1], strict=True)]
        )
        self.leave = Convolution(2 * widths[0], 1, rngs=rngs)

    def __call__(self, images: Float[Array, "batch x y z 1"]) -> Float[Array, "batch x y z 1"]:
        """Lengths must be multiples of 2 to the depth."""
        images = self.rectifier(self.enter(images))
        skips = []
        for down in self.downs:
            skips.append(images)
            images = self.rectifier(down(images)[:, 1::2, 1::2, 1::2])
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            spread = jnp.zeros((*skip.shape[:4], images.shape[-1]), images.dtype)
            spread = spread.at[:, 1::2, 1::2, 1::2].set(images)
            images = jnp.concatenate([self.rectifier(up(spread)), skip], axis=-1)
        return self.leave(images)
