"""3 × 3 × 3 convolution with fewer products, for the CPU: Winograd's, in tiles of 2 × 2 voxels of a plane.

Four neighbours of an axis hold what two outputs of a kernel of three need. A fixed map of the four, and one
of the three, and the two outputs are a fixed map of four products instead of six. In two axes that is 16
products instead of 36, as 16 matrix products over channels; the third axis is summed as more channels.

Source: Lavin & Gray 2016, CVPR, doi:10.1109/CVPR.2016.435.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

KERNEL = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
"""From three values of a kernel to four."""


def by_tiles(
    images: Float[Array, "batch x y z channel"], kernel: Float[Array, "3 3 3 channel out"]
) -> Float[Array, "batch x y z out"]:
    """Compute :func:`jaxqsm.networks.conv3d` plane by plane, in Winograd tiles."""
    batch, x, y, z, channels = images.shape
    out = kernel.shape[-1]
    of_kernel = jnp.asarray(KERNEL, images.dtype)
    matrices = jnp.einsum("aj,bk,ijkco->abico", of_kernel, of_kernel, kernel)
    matrices = matrices.reshape(16, 3 * channels, out)
    wide = _bordered(images)

    def plane(number: Array) -> Array:
        tiles = _tiles(wide, number)
        products = jnp.einsum("abti,aio->abto", tiles, matrices).reshape(
            4, 4, batch, -(-y // 2), -(-z // 2), out
        )
        pairs = [jnp.stack(_two_of_four(row), axis=3) for row in _two_of_four(products)]
        return jnp.stack(pairs, axis=2).reshape(batch, 2 * (-(-y // 2)), 2 * (-(-z // 2)), out)

    planes = jax.lax.map(plane, jnp.arange(x))
    return jnp.moveaxis(planes, 0, 1)[:, :, :y, :z]


def kernel_gradient_by_tiles(
    images: Float[Array, "batch x y z channel"], cotangent: Float[Array, "batch x y z out"]
) -> Float[Array, "3 3 3 channel out"]:
    """Apply the transpose of :func:`by_tiles` in the kernel."""
    batch, x, y, z, channels = images.shape
    out = cotangent.shape[-1]
    wide = _bordered(images)
    even = jnp.pad(cotangent, ((0, 0), (0, 0), (0, y % 2), (0, z % 2), (0, 0)))

    def add(total: Array, number: Array) -> tuple[Array, None]:
        rows = _four_of_two(jax.lax.dynamic_index_in_dim(even, number, axis=1, keepdims=False), 1)
        spread = jnp.stack([tile for row in rows for tile in _four_of_two(row, 2)])
        spread = spread.reshape(16, batch, -1, out)
        return total + jnp.matmul(_tiles(wide, number).swapaxes(2, 3), spread), None

    start = jnp.zeros((16, batch, 3 * channels, out), images.dtype)
    total = jax.lax.scan(add, start, jnp.arange(x))[0].sum(1)
    of_kernel = jnp.asarray(KERNEL, images.dtype)
    return jnp.einsum("aj,bk,abico->ijkco", of_kernel, of_kernel, total.reshape(4, 4, 3, channels, out))


def _bordered(images: Array) -> Array:
    """With a border of zeros, and lengths of planes that tiles fill."""
    y, z = images.shape[2:4]
    return jnp.pad(images, ((0, 0), (1, 1), (1, 1 + y % 2), (1, 1 + z % 2), (0, 0)))


def _tiles(wide: Array, number: Array) -> Float[Array, "16 batch tile channel"]:
    """The mapped tiles of a plane and its two neighbours, these as more channels.

    The batch stays an axis of its own, so that devices it is spread over need not exchange anything.
    """
    near = [jax.lax.dynamic_index_in_dim(wide, number + a, axis=1, keepdims=False) for a in range(3)]
    block = jnp.concatenate(near, axis=-1)
    tiles = [tile for row in _four_of_four(block, 1) for tile in _four_of_four(row, 2)]
    return jnp.stack(tiles).reshape(16, len(block), -1, block.shape[-1])


def _four_of_four(values: Array, axis: int) -> tuple[Array, ...]:
    """The map of the four values at even places, and of the three after each."""
    even, odd = _even_and_odd(values, axis)
    count = even.shape[axis] - 1
    first, third = (jax.lax.slice_in_dim(even, i, count + i, axis=axis) for i in (0, 1))
    second, fourth = (jax.lax.slice_in_dim(odd, i, count + i, axis=axis) for i in (0, 1))
    return first - third, second + third, third - second, second - fourth


def _two_of_four(products: Array) -> tuple[Array, Array]:
    """Two outputs from the products of four, along the first axis."""
    a, b, c, d = products
    return a + b + c, b - c - d


def _four_of_two(values: Array, axis: int) -> tuple[Array, ...]:
    """Transpose of :func:`_two_of_four`, of pairs along an axis."""
    even, odd = _even_and_odd(values, axis)
    return even, even + odd, even - odd, -odd


def _even_and_odd(values: Array, axis: int) -> tuple[Array, Array]:
    count = values.shape[axis]
    return (
        jax.lax.slice_in_dim(values, 0, count, 2, axis=axis),
        jax.lax.slice_in_dim(values, 1, count, 2, axis=axis),
    )
