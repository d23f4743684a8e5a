"""Laplacian unwrapping: a Poisson equation for the wrapped phase differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import divergence
from jaxqsm.physics import wrap_phase


@jax.jit
def laplacian(
    wrapped: Float[Array, "x y z *echo"], mask: Bool[Array, "x y z"], geometry: Geometry
) -> Float[Array, "x y z *echo"]:
    """Phase whose Laplacian is the divergence of the wrapped differences of ``wrapped``.

    Differences that leave the mask count as zero, and the Poisson equation is solved by cosine
    transforms on the whole array (no flux across its border). Noise never spreads as a wrap, but
    the result is smooth: it is *not* the input plus multiples of 2π, and carries a harmonic error
    that background removal takes out again. Use :func:`romeo` for exact multiples.

    Args:
        wrapped: phase in rad.
        mask: where phase is meaningful.
        geometry: voxel size (mm).

    Returns:
        Unwrapped phase in rad, zero outside the mask. Its constant makes it agree with ``wrapped``
        modulo 2π on average. Works on any device; linear in the differences, so differentiable.

    References:
        Schofield & Zhu 2003, Opt Lett 28:1194, doi:10.1364/OL.28.001194;
        Ghiglia & Romero 1994, JOSA A 11:107, doi:10.1364/JOSAA.11.000107 (cosine transform).
    """
    if wrapped.ndim == 4:
        return jax.vmap(laplacian, (-1, None, None), -1)(wrapped, mask, geometry)
    x, y, z = (
        wrap_phase(jnp.roll(wrapped, -1, axis) - wrapped)
        * (mask & jnp.roll(mask, -1, axis))
        / geometry.voxel_size[axis]
        for axis in range(3)
    )
    source = jax.scipy.fft.dctn(divergence((x, y, z), geometry, boundary="neumann"))
    symbol = 0.0
    for axis, (n, size) in enumerate(zip(wrapped.shape, geometry.voxel_size, strict=True)):
        eigenvalues = (2 - 2 * jnp.cos(jnp.pi * jnp.arange(n) / n)) / size**2
        symbol = symbol + eigenvalues.reshape([-1 if i == axis else 1 for i in range(3)])
    symbol = jnp.asarray(symbol).at[0, 0, 0].set(1)
    phase = jax.scipy.fft.idctn((-source / symbol).at[0, 0, 0].set(0))
    rest = (wrapped - phase) * mask
    constant = jnp.angle(jnp.sum(mask * jnp.exp(1j * rest)))
    return (phase + constant) * mask
