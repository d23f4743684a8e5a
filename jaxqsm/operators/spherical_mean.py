"""Spherical mean value: the average over a ball, which leaves harmonic functions as they are."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators.padding import crop, fast_shape, pad


def spherical_kernel(shape: Sequence[int], radius: ArrayLike, geometry: Geometry) -> Float[Array, "x y z"]:
    """Normalised ball of ``radius`` mm centred on voxel (0, 0, 0), wrapped around periodically.

    A voxel that the surface cuts counts by the part of its width inside, measured along the
    radius. So the kernel is continuous in ``radius`` and ``voxel_size`` (gradients exist) and its
    mean is that of a round ball even a few voxels wide.

    Args:
        shape: shape ``(x, y, z)`` of the periodic grid.
        radius: radius in mm.
        geometry: voxel size in mm.

    Returns:
        Shape ``shape``, non-negative, sum 1.
    """
    axes = [
        jnp.fft.fftfreq(n, 1 / n).reshape([-1 if i == axis else 1 for i in range(3)]) * size
        for axis, (n, size) in enumerate(zip(shape, geometry.voxel_size, strict=True))
    ]
    x, y, z = axes
    squared = x**2 + y**2 + z**2
    safe = jnp.where(squared > 0, squared, 1)
    distance = jnp.where(squared > 0, jnp.sqrt(safe), 0)
    dx, dy, dz = geometry.voxel_size
    # Width of a voxel seen along the radius: an ellipsoid norm, equal to d on isotropic grids.
    inverse_width = jnp.sqrt(jnp.where(squared > 0, (x / dx) ** 2 + (y / dy) ** 2 + (z / dz) ** 2, 1))
    width = jnp.where(squared > 0, jnp.sqrt(safe) / inverse_width, jnp.min(geometry.voxel_size))
    ball = jnp.clip((radius - distance) / width + 0.5, 0, 1)
    ball = ball.at[0, 0, 0].set(1)
    return ball / ball.sum()


def spherical_mean(
    image: Float[Array, "x y z"], radius: float, geometry: Geometry, *, margin: int = 0
) -> Float[Array, "x y z"]:
    """Mean of ``image`` over the ball of ``radius`` mm about every voxel.

    Args:
        image: shape ``(x, y, z)``, any unit.
        radius: radius in mm.
        geometry: voxel size in mm.
        margin: zeros added per axis before the periodic convolution. With at least the radius in
            voxels nothing wraps around; default 0 (only up to the next fast FFT size).

    Returns:
        Shape ``(x, y, z)``, unit of ``image``. Self-adjoint, three real FFTs.
    """
    shape = fast_shape(image.shape, margin)
    kernel = jnp.fft.rfftn(spherical_kernel(shape, radius, geometry)).real
    mean = jnp.fft.irfftn(jnp.fft.rfftn(pad(image, shape)) * kernel, s=shape)
    return crop(mean, image.shape)


def weighted_mean(
    image: Float[Array, "x y z"],
    weights: Float[Array, "x y z"],
    radius: float,
    geometry: Geometry,
    *,
    otherwise: Float[Array, "x y z"] | float = 0.0,
) -> Float[Array, "x y z"]:
    """Mean over the ball about every voxel of those that have weight.

    Args:
        image: any unit; not read where there is no weight.
        weights: not negative.
        radius: of the ball in mm.
        geometry: voxel size in mm.
        otherwise: value where a thousandth of the largest weight in a ball is not reached. Default 0.

    Returns:
        Shape and unit of ``image``; opposite borders of the array are neighbours. Six real FFTs;
        differentiable.
    """
    known = jnp.where(weights > 0, image, 0)
    total, count = (spherical_mean(v, radius, geometry) for v in (known * weights, weights))
    enough = count > 1e-3 * jnp.maximum(jnp.max(count), 1e-30)
    return jnp.where(enough, total / jnp.where(enough, count, 1), otherwise)
