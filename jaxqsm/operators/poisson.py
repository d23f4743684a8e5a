"""Poisson's equation on a box, by Fourier or cosine transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators.differences import Boundary
from jaxqsm.operators.fourier import irfftn, rfftn
from jaxqsm.operators.frequencies import laplacian_symbol


def poisson_solver(
    shape: Sequence[int], geometry: Geometry, *, boundary: Boundary = "periodic"
) -> Callable[[Float[Array, "x y z"]], Float[Array, "x y z"]]:
    """Invert minus the 7-point Laplacian on the whole array, mean zero.

    Args:
        shape: of the array.
        geometry: voxel size in mm.
        boundary: ``"periodic"`` (default) or ``"neumann"``, no flux across the border of the array.

    Returns:
        A function from a source (unit / mm²) to the solution (unit); symmetric. Two real FFTs, or two cosine
        transforms, which take three times as long.
    """
    if boundary == "periodic":
        energy = laplacian_symbol(shape, geometry).at[0, 0, 0].set(jnp.inf)
        return lambda source: irfftn(rfftn(source) / energy, shape)
    symbol: Array | float = 0.0
    for axis, (n, size) in enumerate(zip(shape, geometry.voxel_size, strict=True)):
        eigenvalues = (2 - 2 * jnp.cos(jnp.pi * jnp.arange(n) / n)) / size**2
        symbol = symbol + eigenvalues.reshape([-1 if i == axis else 1 for i in range(3)])
    divisor = jnp.asarray(symbol).at[0, 0, 0].set(jnp.inf)
    return lambda source: jax.scipy.fft.idctn(jax.scipy.fft.dctn(source) / divisor)
