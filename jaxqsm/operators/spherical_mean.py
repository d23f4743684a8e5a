"""Spherical mean value: the average over a ball, which leaves harmonic functions as they are."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators.fourier import irfftn, rfftn
from jaxqsm.operators.padding import crop, fast_shape

LEAST_FACTOR = 0.2
"""A ball whose weights would have to change by more, either way, is too small for its voxels."""


def spherical_kernel(shape: Sequence[int], radius: ArrayLike, geometry: Geometry) -> Float[Array, "x y z"]:
    """Make a normalised ball of ``radius`` mm centred on voxel (0, 0, 0), wrapped periodically.

    A voxel that the surface cuts counts by the part of its width inside, measured along the
    radius. So the kernel is continuous in ``radius`` and ``voxel_size`` (gradients exist) and its
    mean is that of a round ball even a few voxels wide.

    What is summed of long voxels is not quite round. Weights are therefore brought to equal second moments
    along the axes, so that harmonic functions keep their value through third order, as they do over a
    ball. (A ball that hardly reaches the neighbours along some axis stays as it is.)

    Args:
        shape: shape ``(x, y, z)`` of the periodic grid.
        radius: radius in mm.
        geometry: voxel size in mm.

    Returns:
        Shape ``shape``, not negative, sum 1.
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
    ball = ball / ball.sum()
    scale = jnp.maximum(radius, jnp.min(geometry.voxel_size))
    return ball * _rounding(ball, [axis / scale for axis in axes])


def _rounding(ball: Array, axes: Sequence[Array]) -> Array:
    """1 + Σ aᵢ xᵢ² by which ``ball`` has the same mean, and equal second moments along ``axes``."""
    # The ball is its own mirror image along every axis: an octant of it tells all, at an eighth of the time.
    part = ball[tuple(slice(n // 2 + 1) for n in ball.shape)]
    near = [lax.slice_in_dim(x, 0, n, axis=i) for i, (x, n) in enumerate(zip(axes, part.shape, strict=True))]
    whole = part
    for axis, n in enumerate(ball.shape):
        images = jnp.full(n // 2 + 1, 2.0).at[0].set(1.0)
        images = images.at[-1].set(1.0) if n % 2 == 0 else images
        whole = whole * images.reshape([-1 if i == axis else 1 for i in range(3)])
    moments = jnp.stack([jnp.sum(whole * x**2) for x in near])
    fourth = jnp.stack([jnp.stack([jnp.sum(whole * x**2 * y**2) for y in near]) for x in near])
    # The ridges are for balls without extent along an axis, whose outcome is not used.
    top = jnp.concatenate([fourth + 1e-5 * jnp.eye(3), -jnp.ones((3, 1))], axis=1)
    bottom = jnp.append(moments, -1e-6)[None]
    change = jnp.linalg.solve(jnp.concatenate([top, bottom]), jnp.append(-moments, 0.0))

    def factor(axes: Sequence[Array]) -> Array:
        return 1 + sum(a * x**2 for a, x in zip(change[:3], axes, strict=True))

    within = jnp.where(part > 0, factor(near), 1)
    fits = (jnp.min(within) > LEAST_FACTOR) & (jnp.max(within) < 1 / LEAST_FACTOR)
    return jnp.where(fits, factor(axes), 1.0)


def spherical_mean(
    image: Float[Array, "x y z"], radius: float, geometry: Geometry, *, margin: int = 0
) -> Float[Array, "x y z"]:
    """Average ``image`` over the ball of ``radius`` mm about every voxel.

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
    kernel = rfftn(spherical_kernel(shape, radius, geometry)).real
    mean = irfftn(rfftn(image, shape) * kernel, shape)
    return crop(mean, image.shape)


def weighted_mean(
    image: Float[Array, "x y z"],
    weights: Float[Array, "x y z"],
    radius: float,
    geometry: Geometry,
    *,
    otherwise: Float[Array, "x y z"] | float = 0.0,
) -> Float[Array, "x y z"]:
    """Average over the ball about every voxel, of voxels that have weight.

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
