"""autoQSM: total field to χ by a U-Net on overlapping patches, of which the middle is kept."""

from __future__ import annotations

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.layers import Convolution, padded
from jaxqsm.networks.blocks.u_net import Decoder, Encoder, Images
from jaxqsm.networks.network import Network
from jaxqsm.networks.published_weights import PublishedWeights, Weights
from jaxqsm.variational.common import referenced


@dataclasses.dataclass(frozen=True)
class AutoQSMConfig:
    """Size and units of :class:`AutoQSM`. Sizes default to the published ones.

    Attributes:
        channels: of the first level; each deeper one has twice as many. Default 16.
        depth: number of halvings. Default 3.
        patch: edge of the patches that the network sees, voxels; 0 for the whole image at once, as it is
            best trained. Default 64.
        middle: edge of the part of a patch whose χ is kept. Default 32.
        overlap: voxels by which these parts overlap, where one fades into the other. Default 8.
        total_std: ppm, of what enters: the unit of the published phase is not stated. Default 0.2.
        largest: ppm, χ that the output tends to. Default 1.
    """

    channels: int = 16
    depth: int = 3
    patch: int = 64
    middle: int = 32
    overlap: int = 8
    total_std: float = 0.2
    largest: float = 1.0


class AutoQSM(Network):
    """One network for background removal and inversion; train it for ``single_step``.

    A U-Net of two rectified convolutions a level, with pooling, and a hyperbolic tangent at its end. The
    published network also finds the brain, so that it needs no mask; this one is given it, or an all-true
    mask where there is none. It does not know of voxel size and field direction.

    Args:
        config: its size.
        rngs: random state.

    References:
        Wei et al. 2019, NeuroImage 202:116064, doi:10.1016/j.neuroimage.2019.116064; layers and patches as
        in its code, AMRI-Lab/AutoQSM.
    """

    def __init__(self, config: AutoQSMConfig = AutoQSMConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        widths = [config.channels * 2**level for level in range(config.depth + 1)]
        convolve = partial(_Rectified, rngs=rngs)
        self.encoder = Encoder(1, widths, convolve=convolve)
        self.decoder = Decoder(widths[-1], widths[:-1], 1, convolve=convolve, rngs=rngs)

    def __call__(
        self,
        total_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry | None = None,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask. ``geometry`` and ``weights`` are not used."""
        images = (jax.vmap(referenced)(total_field, mask) / self.config.total_std)[..., None]
        out = self._by_patches(images) if self.config.patch else self._body(images)
        return self.config.largest * out[..., 0] * mask

    def _body(self, images: Images) -> Images:
        def network(images: Images) -> Images:
            return jnp.tanh(self.decoder(self.encoder(images)))

        return padded(network, images, 2**self.config.depth)

    def _by_patches(self, images: Images) -> Images:
        config, shape = self.config, images.shape[1:4]
        margin, stride = (config.patch - config.middle) // 2, config.middle - config.overlap
        counts = [1 + max(-(-(n - config.middle) // stride), 0) for n in shape]
        lengths = [(count - 1) * stride + config.middle for count in counts]
        around = [(margin, margin + length - n) for n, length in zip(shape, lengths, strict=True)]
        images = jnp.pad(images, [(0, 0), *around, (0, 0)], mode="edge")
        numbers = np.array(list(itertools.product(*(range(count) for count in counts))))
        size = (len(images), config.patch, config.patch, config.patch, 1)
        keep = slice(margin, margin + config.middle)

        def add(out: Array, number: Array) -> tuple[Array, None]:
            corner = (0, *(stride * number), 0)
            patch = self._body(jax.lax.dynamic_slice(images, corner, size))[:, keep, keep, keep]
            x, y, z = (self._fading(number[axis], counts[axis]) for axis in range(3))
            patch = patch * (x[:, None, None] * y[:, None] * z)[..., None]
            before = jax.lax.dynamic_slice(out, corner, patch.shape)
            return jax.lax.dynamic_update_slice(out, before + patch, corner), None

        out, _ = jax.lax.scan(add, jnp.zeros((len(images), *lengths, 1), images.dtype), jnp.asarray(numbers))
        return out[:, : shape[0], : shape[1], : shape[2]]

    def _fading(self, number: Array, count: int) -> Float[Array, " middle"]:
        """Weight of a patch along one axis: with its neighbours' it adds to 1."""
        config = self.config
        rising = jnp.minimum(jnp.arange(config.middle) / max(config.overlap - 1, 1), 1)
        up = jnp.where(number > 0, rising, 1)
        down = jnp.where(number < count - 1, rising[::-1], 1)
        return up * down


class _Rectified(nnx.Module):
    def __init__(self, channels: int, out: int, *, rngs: nnx.Rngs) -> None:
        self.convolution = Convolution(channels, out, rngs=rngs)

    def __call__(self, images: Images) -> Images:
        return jax.nn.relu(self.convolution(images))


def from_published(named: PublishedWeights) -> Weights:
    """Read the weights of the authors' Keras file (AMRI-Lab/AutoQSM)."""
    parts = ("kernel", "bias")
    *layers, leave = zip(*(named.keras("conv3d", part) for part in parts), strict=True)
    depth = (len(layers) - 2) // 4
    places = [f"encoder.levels.{n}.{m}" for n in range(depth + 1) for m in range(2)]
    places += [f"decoder.levels.{n}.{m}" for n in range(depth) for m in range(2)]
    found: Weights = {f"decoder.leave.{part}": value for part, value in zip(parts, leave, strict=True)}
    for place, values in zip(places, layers, strict=True):
        found |= {f"{place}.convolution.{part}": value for part, value in zip(parts, values, strict=True)}
    for number, kernel in enumerate(named.keras("conv3d_transpose", "kernel")):
        found[f"decoder.ups.{number}.kernel"] = kernel.transpose(4, 0, 1, 2, 3)
        found[f"decoder.ups.{number}.bias"] = named.keras("conv3d_transpose", "bias")[number]
    return found
