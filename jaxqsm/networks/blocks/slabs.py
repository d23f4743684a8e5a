"""Networks on volumes that do not fit in memory at once, with the very same result."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def by_slabs(
    function: Callable[[Float[Array, "batch x y z a"]], Float[Array, "batch x y z b"]],
    images: Float[Array, "batch x y z a"],
    *,
    length: int,
    halo: int,
    multiple: int = 1,
) -> Float[Array, "batch x y z b"]:
    """Compute ``function(images)`` one slab of the first axis at a time.

    Every slab is given ``halo`` voxels more on either side than are kept of it, or the volume's own border
    where that is nearer. So where an output voxel depends on no input further away than ``halo``, as in any
    convolutional network, the outcome has no seams: it is that of the whole.

    Args:
        function: gives a voxel for each voxel, whatever the length of the first axis.
        images: input of the whole volume.
        length: voxels of the first axis that are kept of a slab; memory is that of ``length + 2 · halo``.
        halo: reach of the function in voxels.
        multiple: slabs begin at multiples of it, where the function groups voxels into blocks.

    Raises:
        ValueError: ``length`` or ``halo`` is not a multiple of ``multiple``.
    """
    if length % multiple or halo % multiple:
        raise ValueError(f"length {length} and halo {halo} must be multiples of {multiple}")
    total, window = images.shape[1], length + 2 * halo
    window += (total - window) % multiple  # so that the last slab, which ends at the border, begins aligned
    if total <= window:
        return function(images)
    count = -(-total // length)
    kept = jnp.minimum(length * jnp.arange(count), total - length)
    starts = jnp.clip(kept - halo, 0, total - window)

    def slab(start: Array, first: Array) -> Array:
        out = function(jax.lax.dynamic_slice_in_dim(images, start, window, axis=1))
        return jax.lax.dynamic_slice_in_dim(out, first - start, length, axis=1)

    slabs = jax.lax.map(lambda bounds: slab(*bounds), (starts, kept))
    out = jnp.zeros((images.shape[0], total, *slabs.shape[3:]), slabs.dtype)

    def place(out: Array, piece: tuple[Array, Array]) -> tuple[Array, None]:
        return jax.lax.dynamic_update_slice_in_dim(out, piece[0], piece[1], axis=1), None

    return jax.lax.scan(place, out, (slabs, kept))[0]
