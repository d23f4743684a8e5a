"""Frequency coordinates of the real-to-complex transform, and symbols of difference operators."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from jaxqsm.geometry import Geometry


def _cycles(shape: Sequence[int]) -> tuple[Array, Array, Array]:
    """Cycles per voxel on the half spectrum of ``rfftn``, one broadcastable array an axis."""
    x, y, z = shape
    return (
        jnp.fft.fftfreq(x)[:, None, None],
        jnp.fft.fftfreq(y)[None, :, None],
        jnp.fft.rfftfreq(z)[None, None, :],
    )


def frequencies(
    shape: Sequence[int], geometry: Geometry
) -> tuple[Float[Array, "x 1 1"], Float[Array, "1 y 1"], Float[Array, "1 1 h"]]:
    """List spatial frequencies in cycles/mm on the half spectrum of :func:`~jaxqsm.operators.rfftn`.

    Args:
        shape: shape ``(x, y, z)`` of the image.
        geometry: voxel size in mm; differentiable.

    Returns:
        Three broadcastable arrays; the last axis has ``h = z // 2 + 1`` entries.
    """
    kx, ky, kz = _cycles(shape)
    dx, dy, dz = geometry.voxel_size
    return kx / dx, ky / dy, kz / dz


def laplacian_symbol(shape: Sequence[int], geometry: Geometry) -> Float[Array, "x y h"]:
    """Compute the Fourier symbol of minus the periodic 7-point Laplacian, Σ (2 − 2 cos 2πk) / d².

    It is also the symbol of gradientᵀ·gradient of :func:`jaxqsm.operators.gradient` with periodic
    boundary, which is what makes regularised inversions diagonal in k-space.
    """
    kx, ky, kz = (2 - 2 * jnp.cos(2 * jnp.pi * cycles) for cycles in _cycles(shape))
    dx, dy, dz = geometry.voxel_size
    return kx / dx**2 + ky / dy**2 + kz / dz**2


def odd_frequencies(
    shape: Sequence[int], geometry: Geometry
) -> tuple[Float[Array, "x 1 1"], Float[Array, "1 y 1"], Float[Array, "1 1 h"]]:
    """List :func:`frequencies` with 0 at Nyquist, whose sign is not defined.

    With a sign there an image and its mirror image would not have mirrored derivatives.
    """
    x, y, z = (
        k if n % 2 else jnp.where(jnp.arange(k.shape[axis]).reshape(k.shape) == n // 2, 0, k)
        for axis, (k, n) in enumerate(zip(frequencies(shape, geometry), shape, strict=True))
    )
    return x, y, z


def all_frequencies(half: Float[Array, "x y h"], length: int) -> Float[Array, "x y z"]:
    """Look up an even function at any frequencies from its values on the half spectrum.

    Statistics over the half spectrum would count most frequencies once where they stand for two, and so
    depend on which axis is stored last.

    Args:
        half: on the half spectrum of ``rfftn``.
        length: of the last axis in space.
    """
    again = half[..., 1 : half.shape[-1] - (1 - length % 2)]
    return jnp.concatenate([half, again], axis=-1)


def difference_symbols(
    shape: Sequence[int], geometry: Geometry
) -> tuple[Complex[Array, "x 1 1"], Complex[Array, "1 y 1"], Complex[Array, "1 1 h"]]:
    """Compute the Fourier symbols of the periodic :func:`jaxqsm.operators.gradient`, in 1/mm."""
    x, y, z = (
        (jnp.exp(2j * jnp.pi * cycles) - 1) / size
        for cycles, size in zip(_cycles(shape), geometry.voxel_size, strict=True)
    )
    return x, y, z
