"""Three-dimensional convolution, in the form that each backend computes fastest."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm.networks.blocks.winograd import by_tiles, kernel_gradient_by_tiles

PLANES = 2
"""Planes whose windows are laid out at a time on the CPU: fits its cache, and is enough for two cores."""

FEWEST_CHANNELS = 16
"""In and out, for which it is quicker to save products than to keep the matrices large."""


@jax.custom_vjp
def conv3d(
    images: Float[Array, "batch x y z channel"], kernel: Float[Array, "i j k channel out"]
) -> Float[Array, "batch x y z out"]:
    """Correlate with an odd-sized kernel, zeros beyond the border, stride 1: one output voxel an input voxel.

    ``out[x] = Σ kernel[d] · images[x + d − reach]``, as ``torch.nn.functional.conv3d`` with
    ``padding="same"`` (whose kernel is ordered ``(out, channel, i, j, k)``).

    Args:
        images: any float type.
        kernel: the same type, odd in every length.

    Returns:
        Same type as ``images``; sums are in float32 where that is narrower.

    Raises:
        ValueError: a kernel of even length, or of other channels than the images.

    Notes:
        On GPU and TPU, XLA's own convolution. On the CPU its 3-D convolution is several times slower than
        matrix products are: there the windows of a few planes at a time are laid out over the last two axes
        and multiplied with all the kernel's planes at once, and the results are added in place, shifted along
        the first; kernels of 3³ for many channels go through :mod:`jaxqsm.networks.blocks.winograd`, whose
        results differ by rounding. The derivative is written by hand in the same forms, and may itself be
        differentiated in reverse mode any number of times. ``jax.jvp`` is not defined.
    """
    _check(images, kernel)
    return jax.lax.platform_dependent(images, kernel, cpu=_on_cpu, default=_native)


def _forward(images: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv3d(images, kernel), (images, kernel)


def _backward(kept: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    images, kernel = kept
    return conv3d(cotangent, _reversed(kernel)), _kernel_gradient(images, cotangent, kernel.shape[:3])


conv3d.defvjp(_forward, _backward)


def _kernel_gradient(images: Array, cotangent: Array, size: tuple[int, ...]) -> Array:
    """Σ over voxels of images[x + d − reach] ⊗ cotangent[x]: linear in both."""

    @jax.custom_vjp
    def gradient(images: Array, cotangent: Array) -> Array:
        return jax.lax.platform_dependent(
            images,
            cotangent,
            cpu=lambda a, b: _gradient_on_cpu(a, b, size),
            default=lambda a, b: _native_gradient(a, b, size),
        )

    def forward(images: Array, cotangent: Array) -> tuple[Array, tuple[Array, Array]]:
        return gradient(images, cotangent), (images, cotangent)

    def backward(kept: tuple[Array, Array], outer: Array) -> tuple[Array, Array]:
        return conv3d(kept[1], _reversed(outer)), conv3d(kept[0], outer)

    gradient.defvjp(forward, backward)
    return gradient(images, cotangent)


def _check(images: Array, kernel: Array) -> None:
    if any(n % 2 == 0 for n in kernel.shape[:3]):
        raise ValueError(f"kernel of shape {kernel.shape[:3]}; conv3d needs odd lengths")
    if kernel.shape[3] != images.shape[-1]:
        raise ValueError(f"kernel for {kernel.shape[3]} channels, images with {images.shape[-1]}")


def _reversed(kernel: Array) -> Array:
    return jnp.flip(kernel, (0, 1, 2)).swapaxes(3, 4)


def _on_cpu(images: Array, kernel: Array) -> Array:
    return (by_tiles if _suits_tiles(images, kernel.shape) else _by_planes)(images, kernel)


def _gradient_on_cpu(images: Array, cotangent: Array, size: tuple[int, ...]) -> Array:
    if _suits_tiles(images, (*size, images.shape[-1], cotangent.shape[-1])):
        return kernel_gradient_by_tiles(images, cotangent)
    return _gradient_by_planes(images, cotangent, size)


def _suits_tiles(images: Array, kernel: tuple[int, ...]) -> bool:
    *size, channels, out = kernel
    # Sums and differences of narrower types would lose digits.
    wide = images.dtype in (jnp.float32, jnp.float64)
    return wide and size == [3, 3, 3] and min(channels, out) >= FEWEST_CHANNELS


def _native(images: Array, kernel: Array) -> Array:
    layout = ("NXYZC", "XYZIO", "NXYZC")
    return jax.lax.conv_general_dilated(images, kernel, (1, 1, 1), "SAME", dimension_numbers=layout)


def _native_gradient(images: Array, cotangent: Array, size: tuple[int, ...]) -> Array:
    channels, out = images.shape[-1], cotangent.shape[-1]
    like = jax.ShapeDtypeStruct((*size, channels, out), images.dtype)
    (gradient,) = jax.linear_transpose(lambda kernel: _native(images, kernel), like)(cotangent)
    return gradient


def _by_planes(images: Array, kernel: Array) -> Array:
    batch, x, y, z, channels = images.shape
    i, j, k, _, out = kernel.shape
    planes = _Planes(images, (i // 2, j // 2, k // 2))
    # Plane p of the padded images reaches output planes p − i + 1 to p: in this order of the kernel's.
    matrix = kernel[::-1].transpose(1, 2, 3, 0, 4).reshape(j * k * channels, i * out)
    precise = jnp.promote_types(images.dtype, jnp.float32)

    def add(total: Array, number: Array) -> tuple[Array, None]:
        block = planes.block(number)
        windows = [block[:, :, b : b + y, c : c + z] for b in range(j) for c in range(k)]
        products = jnp.matmul(jnp.concatenate(windows, -1), matrix, preferred_element_type=precise)
        products = products.reshape(batch, -1, y, z, i, out)
        rest = [((0, 0), (a, i - 1 - a), (0, 0), (0, 0), (0, 0)) for a in range(i)]
        piece = sum(jnp.pad(products[..., a, :], rest[a]) for a in range(i))
        first, size = number * planes.at_a_time, planes.at_a_time + i - 1
        piece = piece + jax.lax.dynamic_slice_in_dim(total, first, size, axis=1)
        return jax.lax.dynamic_update_slice_in_dim(total, piece, first, axis=1), None

    total = jnp.zeros((batch, planes.total + i - 1, y, z, out), precise)
    total = jax.lax.scan(add, total, planes.numbers)[0]
    return total[:, i - 1 : i - 1 + x].astype(images.dtype)


def _gradient_by_planes(images: Array, cotangent: Array, size: tuple[int, ...]) -> Array:
    batch, x, y, z, channels = images.shape
    i, j, k = size
    out = cotangent.shape[-1]
    planes = _Planes(images, (0, j // 2, k // 2))
    # Plane p of the images meets the cotangent's planes p + reach − a, for every plane a of the kernel.
    reach = i // 2
    wide = jnp.pad(cotangent, ((0, 0), (reach, reach), (0, 0), (0, 0), (0, 0)))
    shifted = jnp.concatenate([wide[:, i - 1 - a : i - 1 - a + x] for a in range(i)], -1)
    partners = _Planes(shifted, (0, 0, 0))
    precise = jnp.promote_types(images.dtype, jnp.float32)

    def add(total: Array, number: Array) -> tuple[Array, None]:
        block, partner = planes.block(number), partners.block(number).reshape(batch, -1, i * out)
        windows = (block[:, :, b : b + y, c : c + z] for b in range(j) for c in range(k))
        across = [window.reshape(batch, -1, channels).swapaxes(1, 2) for window in windows]
        products = [jnp.matmul(a, partner, preferred_element_type=precise) for a in across]
        return total + jnp.stack(products), None

    start = jnp.zeros((j * k, batch, channels, i * out), precise)
    total = jax.lax.scan(add, start, planes.numbers)[0].sum(1)
    gradient = total.reshape(j, k, channels, i, out).transpose(3, 0, 1, 2, 4)
    return gradient.astype(images.dtype)


class _Planes:
    """Zero-bordered planes of images, a few at a time.

    The batch stays an axis of its own, so that devices it is spread over need not exchange anything.
    """

    def __init__(self, images: Array, reach: tuple[int, int, int]):
        count = images.shape[1] + 2 * reach[0]
        self.at_a_time = max(1, PLANES // len(images))
        rest = -count % self.at_a_time
        self.total = count + rest
        borders = [(0, 0), *((n, n) for n in reach), (0, 0)]
        borders[1] = reach[0], reach[0] + rest
        self.wide = jnp.pad(images, borders)
        self.numbers = jnp.arange(self.total // self.at_a_time)

    def block(self, number: Array) -> Array:
        """Take some planes of every image."""
        return jax.lax.dynamic_slice_in_dim(self.wide, number * self.at_a_time, self.at_a_time, axis=1)
