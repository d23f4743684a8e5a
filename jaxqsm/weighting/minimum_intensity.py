"""Projection that makes veins continuous."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm.geometry import Geometry


def minimum_intensity(
    image: Float[Array, "x y z"], geometry: Geometry, *, thickness: float = 8.0, axis: int = 2
) -> Float[Array, "x y z"]:
    """Project the least value of the slab about every slice (mIP).

    Use it to show veins across slices.

    Args:
        image: any unit.
        geometry: voxel size in mm.
        thickness: of the slab in mm; default 8. Slabs end at the border of the array.
        axis: across the slab; default the last.

    Returns:
        Shape and unit of ``image``.

    References:
        Haacke, Xu, Cheng & Reichenbach 2004, MRM 52:612, doi:10.1002/mrm.20198.

    Example:
        >>> minimum_intensity(jnp.arange(8.0).reshape(2, 2, 2), Geometry(), thickness=2.0).shape
        (2, 2, 2)
    """
    length = image.shape[axis]
    slices = jnp.round(thickness / geometry.voxel_size[axis]).astype(int).clip(1, 2 * length - 1)
    widths = [(length, length) if i == axis else (0, 0) for i in range(3)]
    # Least values of 1, 2, 4 … slices from each on: two of the longest that fit cover any slab.
    least = jnp.pad(image, widths, constant_values=jnp.inf)
    first = length - (slices - 1) // 2
    slab = jnp.full_like(image, jnp.inf)
    for power in range((2 * length - 1).bit_length()):
        last = first + slices - 2**power
        both = [jax.lax.dynamic_slice_in_dim(least, start, length, axis) for start in (first, last)]
        slab = jnp.where((2**power <= slices) & (slices < 2 * 2**power), jnp.minimum(*both), slab)
        ahead = jax.lax.slice_in_dim(least, min(2**power, 3 * length), 3 * length, axis=axis)
        rest = [(0, least.shape[i] - ahead.shape[i]) for i in range(3)]
        least = jnp.minimum(least, jnp.pad(ahead, rest, constant_values=jnp.inf))
    return slab
