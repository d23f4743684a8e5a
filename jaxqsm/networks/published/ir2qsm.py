"""IR²QSM: a U-Net run four times, whose decoder hands over to the next run's encoder."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.layers import (
    Convolution,
    NormalisedConvolution,
    TransposedConvolution,
    max_pool,
    pad_to_multiple,
    unpad,
)
from jaxqsm.networks.network import Network

Images = Float[Array, "batch x y z c"]


@dataclasses.dataclass(frozen=True)
class IR2QSMConfig:
    """Size of :class:`IR2QSM`, by default as published.

    Attributes:
        iterations: runs, each with weights of its own. Default 4.
        channels: of the first level; each deeper one has twice as many. Default 16.
        depth: number of halvings. Default 3.
        dropout: part of the channels that training drops. Default 0.05.
        noise: largest noise, over the images' own size, that training adds to images between parts of the
            network, in half of the cases. Default 0.7 (a signal-to-noise ratio of power of 2).
    """

    iterations: int = 4
    channels: int = 16
    depth: int = 3
    dropout: float = 0.05
    noise: float = 0.7


class IR2QSM(Network):
    """Local field to χ, both in ppm: what each run adds to the field is refined by the next.

    Reverse joins take a run's decoded images into the next one's encoder; a gate at the bottom keeps what
    earlier runs found. It does not know of voxel size and field direction.

    Args:
        config: its size.
        rngs: random state.

    References:
        Li et al. 2024, arXiv:2406.12300.
    """

    def __init__(self, config: IR2QSMConfig = IR2QSMConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.runs = nnx.List(
            [_Run(config, first=number == 0, rngs=rngs) for number in range(config.iterations)]
        )
        self.join = Convolution(config.iterations, 1, size=1, rngs=rngs)

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry | None = None,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask. ``geometry`` and ``weights`` are not used."""
        field = pad_to_multiple((local_field * mask)[..., None], 2**self.config.depth)
        found, decoded, memory = [field], None, None
        for run in self.runs:
            image, decoded, memory = run(found[-1], decoded, memory)
            found.append(image + field)
        joined = self.join(jnp.concatenate(found[1:], axis=-1)) + field
        return unpad(joined, mask.shape[1:])[..., 0] * mask


class _Run(nnx.Module):
    """One pass of the U-Net; the first has nothing to take over."""

    def __init__(self, config: IR2QSMConfig, *, first: bool, rngs: nnx.Rngs) -> None:
        widths = [config.channels * 2**level for level in range(config.depth + 1)]

        def convolve(channels: int, out: int) -> NormalisedConvolution:
            return NormalisedConvolution(channels, out, rngs=rngs)

        self.drop = nnx.Dropout(config.dropout, broadcast_dims=(1, 2, 3), rngs=rngs)
        self.noise = _Noise(config.noise, rngs=rngs)
        self.enter = nnx.List([convolve(1, widths[0]), convolve(widths[0], widths[0])])
        self.takes = nnx.List([] if first else [convolve(2 * w, w) for w in widths[:-1]])
        self.keeps = nnx.List([convolve(w, w) for w in widths[:-1]])
        self.downs = nnx.List([convolve(w, 2 * w) for w in widths[:-1]])
        self.gate, self.bottom = (convolve(widths[-1], widths[-1]) for _ in range(2))
        falling = widths[:0:-1]
        self.ups = nnx.List([_Up(w, w // 2, rngs=rngs) for w in falling])
        self.decoders = nnx.List([nnx.List([convolve(w, w), convolve(w, w // 2)]) for w in falling])
        self.leave = nnx.List([convolve(widths[0], widths[0]), Convolution(widths[0], 1, size=1, rngs=rngs)])

    def __call__(
        self, image: Images, decoded: list[Images] | None, memory: Images | None
    ) -> tuple[Images, list[Images], Images]:
        images = self.noise(self.enter[1](self.drop(self.enter[0](image))))
        skips = []
        for level, (keep, down) in enumerate(zip(self.keeps, self.downs, strict=True)):
            if decoded is not None:
                images = self.takes[level](jnp.concatenate([images, decoded[level]], axis=-1))
            images = keep(self.drop(images))
            skips.append(images)
            images = max_pool(down(images))
        images = self.drop(self.noise(images))
        update = jax.nn.sigmoid(self.gate(images))
        memory = (images if memory is None else memory) * (1 - update) + self.bottom(images) * update
        images = self.noise(memory)
        found = []
        for up, (first, second), skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            images = second(self.drop(first(jnp.concatenate([up(images), skip], axis=-1))))
            found.append(images)
        image = self.leave[1](self.leave[0](self.noise(images)))
        return image, found[::-1], memory


class _Up(nnx.Module):
    def __init__(self, channels: int, out: int, *, rngs: nnx.Rngs) -> None:
        self.convolution = TransposedConvolution(channels, out, rngs=rngs)
        self.norm = nnx.BatchNorm(out, momentum=0.9, epsilon=1e-5, rngs=rngs)

    def __call__(self, images: Images) -> Images:
        return jax.nn.relu(self.norm(self.convolution(images)))


class _Noise(nnx.Module):
    """Adds noise in training: a network that stands it does not make much of little."""

    def __init__(self, largest: float, *, rngs: nnx.Rngs) -> None:
        self.largest = largest
        self.deterministic = False
        self.rngs = rngs.dropout.fork()

    def __call__(self, images: Images) -> Images:
        if self.deterministic or self.largest == 0:
            return images
        size = jnp.sqrt(jnp.mean(images**2))
        level = self.largest * jnp.maximum(2 * jax.random.uniform(self.rngs()) - 1, 0)
        return images + level * size * jax.random.normal(self.rngs(), images.shape, images.dtype)
