"""Poisson's equation on a box, by cosine transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm.geometry import Geometry


def poisson_solver(
    shape: Sequence[int], geometry: Geometry
) -> Callable[[Float[Array, "x y z"]], Float[Array, "x y z"]]:
    """Inverse of minus the 7-point Laplacian on the whole array, no flux across its border, mean zero.

    Args:
        shape: of the array.
        geometry: voxel size in mm.

    Returns:
        A function from a source (unit / mm²) to the solution (unit); symmetric, two cosine transforms.
    """
    symbol: Array | float = 0.0
    for axis, (n, size) in enumerate(zip(shape, geometry.voxel_size, strict=True)):
        eigenvalues = (2 - 2 * jnp.cos(jnp.pi * jnp.arange(n) / n)) / size**2
        symbol = symbol + eigenvalues.reshape([-1 if i == axis else 1 for i in range(3)])
    divisor = jnp.asarray(symbol).at[0, 0, 0].set(jnp.inf)
    return lambda source: jax.scipy.fft.idctn(jax.scipy.fft.dctn(source) / divisor)
