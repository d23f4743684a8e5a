"""Random bodies and random noise as χ: what networks learn the physics from, without any anatomy."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.operators import gaussian_response, irfftn, rfftn

LEAST = 1e-4
"""Part of white noise that smoothing must leave, or what is left is rounding."""


@partial(jax.jit, static_argnames=("shape", "count"))
def random_shapes(
    shape: tuple[int, int, int],
    geometry: Geometry,
    *,
    key: PRNGKeyArray,
    count: int = 80,
    chi_deviation: ArrayLike = 0.1,
    smallest: ArrayLike = 1.5,
    largest: ArrayLike = 20.0,
) -> Float[Array, "x y z"]:
    """Draw ellipsoids, cuboids and cylinders of random place, size, direction and χ.

    Later bodies cover earlier ones, so that values stay those of single tissues. Voxels at a surface
    are filled in part.

    Args:
        key: random key.
        shape: array shape ``(x, y, z)``.
        geometry: voxel size in mm: bodies have their shape in millimetres on any grid.
        count: number of bodies; default 80. Centres are anywhere in the array.
        chi_deviation: standard deviation of χ in ppm; default 0.1.
        smallest: least half axis in mm; default 1.5.
        largest: greatest half axis in mm; default 20. Half axes are drawn evenly in their logarithm,
            as anatomy has more small bodies than large ones.

    Returns:
        χ in ppm; 0 outside all bodies. One volume of memory whatever the count. Under ``vmap`` over
        keys, a batch.

    References:
        Bollmann et al. 2019, NeuroImage 195:373, doi:10.1016/j.neuroimage.2019.03.060 (DeepQSM:
        training on simple shapes); Bollmann et al. 2019, Z Med Phys 29:139,
        doi:10.1016/j.zemedi.2019.01.001 (SHARQnet).

    Example:
        >>> random_shapes((16, 16, 16), Geometry(), key=jax.random.key(0)).shape
        (16, 16, 16)
    """
    size = geometry.voxel_size
    axes = [(jnp.arange(n) + 0.5) * size[i] for i, n in enumerate(shape)]
    grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"))
    extent = jnp.asarray(shape) * size

    def paint(chi: Array, body_key: PRNGKeyArray) -> tuple[Array, None]:
        place, turn, half, kind, value = jax.random.split(body_key, 5)
        centre = jax.random.uniform(place, (3,)) * extent
        ratio = jnp.log(jnp.asarray(largest) / jnp.asarray(smallest))
        half_axes = smallest * jnp.exp(ratio * jax.random.uniform(half, (3,)))
        offset = grid - centre[:, None, None, None]
        x, y, z = (
            jnp.einsum("ij,jxyz->ixyz", _rotation(turn), offset, precision="highest")
            / half_axes[:, None, None, None]
        )
        ellipsoid = jnp.sqrt(x**2 + y**2 + z**2)
        cuboid = jnp.maximum(jnp.maximum(jnp.abs(x), jnp.abs(y)), jnp.abs(z))
        cylinder = jnp.maximum(jnp.sqrt(x**2 + y**2), jnp.abs(z))
        # Each level is 1 at the surface and grows in proportion along every ray from the centre.
        level = jnp.stack([ellipsoid, cuboid, cylinder])[jax.random.randint(kind, (), 0, 3)]
        distance = jnp.sqrt(jnp.sum(offset**2, axis=0))
        inwards = distance * (1 / jnp.maximum(level, 1e-6) - 1) / jnp.min(size)
        part = jnp.where(level < 1e-3, 1.0, jnp.clip(0.5 + inwards, 0, 1))
        return chi * (1 - part) + part * chi_deviation * jax.random.normal(value), None

    return jax.lax.scan(paint, jnp.zeros(shape), jax.random.split(key, count))[0]


@partial(jax.jit, static_argnames="shape")
def random_field(
    shape: tuple[int, int, int],
    geometry: Geometry,
    *,
    key: PRNGKeyArray,
    standard_deviation: ArrayLike = 0.1,
    smoothness: ArrayLike = 2.0,
) -> Float[Array, "x y z"]:
    """Draw Gaussian noise without structure finer than ``smoothness``: χ, fields or phase offsets.

    Args:
        key: random key.
        shape: array shape ``(x, y, z)``.
        geometry: voxel size in mm.
        standard_deviation: of the result, any unit; default 0.1.
        smoothness: standard deviation in mm of the Gaussian that the noise is convolved with
            (periodically); default 2.

    Returns:
        Shape ``shape``, mean zero; all zero where the array is too short for structure so smooth. Two real
        FFTs.
    """
    gauss = gaussian_response(shape, smoothness, geometry)
    noise = jax.random.normal(key, shape)
    image = irfftn(rfftn(noise) * gauss, shape)
    image = image - image.mean()
    size = jnp.std(image)
    return jnp.asarray(standard_deviation) * image * jnp.where(size > LEAST, 1 / jnp.maximum(size, LEAST), 0)


def _rotation(key: PRNGKeyArray) -> Float[Array, "3 3"]:
    """Uniformly random rotation, from a random unit quaternion (Shoemake 1992, Graphics Gems III)."""
    q = jax.random.normal(key, (4,))
    w, x, y, z = q / jnp.linalg.norm(q)
    return jnp.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
