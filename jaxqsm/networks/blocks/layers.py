"""Elementary layers: convolution, change of resolution, conditioning on numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Shaped

from jaxqsm.networks.blocks.convolution import conv3d


class Convolution(nnx.Module):
    """:func:`~jaxqsm.networks.conv3d` with a learned kernel and bias.

    Args:
        channels: of the input.
        out: channels of the output.
        size: odd length of the cubic kernel; default 3.
        bias: whether there is one; default true.
        gain: factor on the initial kernel; 0 starts the layer at zero. Default 1.
        rngs: random state.

    Kernels start as He et al. 2015, doi:10.1109/ICCV.2015.123, for rectified inputs; biases at 0.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        size: int = 3,
        bias: bool = True,
        gain: float = 1.0,
        rngs: nnx.Rngs,
    ) -> None:
        standard_deviation = gain * math.sqrt(2 / (channels * size**3))
        self.kernel = nnx.Param(
            standard_deviation * jax.random.normal(rngs.params(), (size, size, size, channels, out))
        )
        self.bias = nnx.Param(jnp.zeros(out)) if bias else None

    def __call__(self, images: Float[Array, "batch x y z channel"]) -> Float[Array, "batch x y z out"]:
        kernel = self.kernel[...].astype(images.dtype)
        out = images @ kernel[0, 0, 0] if kernel.shape[:3] == (1, 1, 1) else conv3d(images, kernel)
        return out if self.bias is None else out + self.bias[...].astype(images.dtype)


class Affine(nnx.Module):
    """Scale and shift of every channel by what numbers about a scan say (FiLM).

    Starts as the identity. Source: Perez et al. 2018, AAAI 32:3942, doi:10.1609/aaai.v32i1.11671.
    """

    def __init__(self, conditioning: int, channels: int) -> None:
        self.weight = nnx.Param(jnp.zeros((conditioning, 2 * channels)))
        self.bias = nnx.Param(jnp.zeros(2 * channels))

    def __call__(
        self, images: Float[Array, "batch x y z channel"], conditioning: Float[Array, "batch number"]
    ) -> Float[Array, "batch x y z channel"]:
        scale, shift = jnp.split(conditioning @ self.weight[...] + self.bias[...], 2, axis=-1)
        scale, shift = (v[:, None, None, None].astype(images.dtype) for v in (scale, shift))
        return images * (1 + scale) + shift


def space_to_depth(images: Float[Array, "b x y z c"], factor: int = 2) -> Float[Array, "b X Y Z d"]:
    """Rearrange blocks of ``factor``³ voxels into channels; lengths must be multiples of it.

    Source: Shi et al. 2016, doi:10.1109/CVPR.2016.207 (its inverse, the sub-pixel convolution).
    """
    b, x, y, z, c = images.shape
    f = factor
    blocks = images.reshape(b, x // f, f, y // f, f, z // f, f, c)
    return blocks.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, x // f, y // f, z // f, f**3 * c)


def depth_to_space(images: Float[Array, "b X Y Z d"], factor: int = 2) -> Float[Array, "b x y z c"]:
    """Invert :func:`space_to_depth`."""
    b, x, y, z, d = images.shape
    f = factor
    blocks = images.reshape(b, x, y, z, f, f, f, d // f**3)
    return blocks.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, x * f, y * f, z * f, d // f**3)


def pad_to_multiple(images: Float[Array, "b x y z c"], multiple: int) -> Float[Array, "b X Y Z c"]:
    """Pad with zeros at the far end up to a multiple; :func:`unpad` undoes it."""
    widths = [(0, -n % multiple) for n in images.shape[1:4]]
    return jnp.pad(images, [(0, 0), *widths, (0, 0)])


def unpad(images: Float[Array, "b X Y Z c"], shape: Sequence[int]) -> Float[Array, "b x y z c"]:
    """Keep the first ``shape`` voxels."""
    x, y, z = shape
    return images[:, :x, :y, :z]


def centre_padded(images: Shaped[Array, "b x y z"], multiple: int) -> Shaped[Array, "b X Y Z"]:
    """Pad with zeros on both ends up to a multiple, one more at the near end where odd."""
    widths = [(-(-missing // 2), missing // 2) for missing in (-n % multiple for n in images.shape[1:])]
    return jnp.pad(images, [(0, 0), *widths])


def centre_unpadded(images: Shaped[Array, "b X Y Z"], shape: Sequence[int]) -> Shaped[Array, "b x y z"]:
    """Invert :func:`centre_padded`."""
    x, y, z = (
        slice(start := -(-(m - n) // 2), start + n) for m, n in zip(images.shape[1:], shape, strict=True)
    )
    return images[:, x, y, z]


def padded(
    network: Callable[[Float[Array, "b X Y Z c"]], Float[Array, "b X Y Z o"]],
    images: Float[Array, "b x y z c"],
    multiple: int,
) -> Float[Array, "b x y z o"]:
    """Apply ``network``, which needs lengths of a multiple, to images of any lengths."""
    return unpad(network(pad_to_multiple(images, multiple)), images.shape[1:4])


class TransposedConvolution(nnx.Module):
    """Every voxel becomes a block of ``factor``³ voxels: transposed convolution whose stride is its size.

    Args:
        channels: of the input.
        out: channels of the output.
        factor: edge of the block; default 2.
        rngs: random state.
    """

    def __init__(self, channels: int, out: int, *, factor: int = 2, rngs: nnx.Rngs) -> None:
        standard_deviation = math.sqrt(2 / channels)
        self.factor = factor
        self.kernel = nnx.Param(
            standard_deviation * jax.random.normal(rngs.params(), (channels, factor, factor, factor, out))
        )
        self.bias = nnx.Param(jnp.zeros(out))

    def __call__(self, images: Float[Array, "batch x y z channel"]) -> Float[Array, "batch X Y Z out"]:
        kernel = self.kernel[...].reshape(images.shape[-1], -1).astype(images.dtype)
        return depth_to_space(images @ kernel, self.factor) + self.bias[...].astype(images.dtype)


class NormalisedConvolution(nnx.Module):
    """Convolution, batch normalisation, leaky rectifier.

    Args:
        channels: of the input.
        out: channels of the output.
        size: of the kernel; default 3.
        bias: of the convolution; default true.
        slope: of the rectifier below zero; default 0.
        momentum: of the running statistics; default 0.9.
        epsilon: added to variances; default 1e-5.
        rngs: random state.

    Source: Ioffe & Szegedy 2015, arXiv:1502.03167.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        size: int = 3,
        bias: bool = True,
        slope: float = 0.0,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        rngs: nnx.Rngs,
    ) -> None:
        self.slope = slope
        self.convolution = Convolution(channels, out, size=size, bias=bias, rngs=rngs)
        self.norm = nnx.BatchNorm(out, momentum=momentum, epsilon=epsilon, rngs=rngs)

    def __call__(self, images: Float[Array, "batch x y z channel"]) -> Float[Array, "batch x y z out"]:
        return jax.nn.leaky_relu(self.norm(self.convolution(images)), self.slope)


def max_pool(images: Float[Array, "b x y z c"], factor: int = 2) -> Float[Array, "b X Y Z c"]:
    """Take the largest of every block of ``factor``³ voxels; lengths must be multiples of it."""
    return _blocks(images, factor).max(axis=(2, 4, 6))


def mean_pool(images: Float[Array, "b x y z c"], factor: int = 2) -> Float[Array, "b X Y Z c"]:
    """Average every block of ``factor``³ voxels; lengths must be multiples of it."""
    return _blocks(images, factor).mean(axis=(2, 4, 6))


def _blocks(images: Array, f: int) -> Array:
    b, x, y, z, c = images.shape
    return images.reshape(b, x // f, f, y // f, f, z // f, f, c)


def share_statistics(network: nnx.Module, axis: str) -> None:
    """Let batch normalisation, while it trains, take its means over the devices of a named axis as well."""
    for _, part in nnx.iter_graph(network):
        if isinstance(part, nnx.BatchNorm):
            part.axis_name = axis
