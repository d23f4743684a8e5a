"""Sign that changes from voxel to voxel along an axis: a half-turn that some scanners leave in."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex

AGAINST = 0.3
"""Part of the neighbours' products that must be negative: no field turns so fast all over."""


@jax.jit
def alternating_sign(
    signal: Complex[Array, "x y z echo"], mask: Bool[Array, "x y z"]
) -> Bool[Array, "echo 3"]:
    """Detect axes along which the sign of each echo alternates from voxel to voxel.

    An inverse Fourier transform without the shift of k-space multiplies every other slice, or every other
    voxel of a checkerboard, by −1. Then Re Σ S(x + 1) S(x)* < 0 along the axis, while the phase of a field
    bends little between neighbours.

    Args:
        signal: complex, any unit.
        mask: where it is meaningful.

    Returns:
        One row an echo, one column an axis; see :func:`without_alternation`.
    """
    relative = signal / jnp.maximum(jnp.abs(signal).max(), 1e-30) * mask[..., None]
    found = []
    for axis, count in enumerate(mask.shape):
        low, high = (jax.lax.slice_in_dim(relative, i, count - 1 + i, axis=axis) for i in (0, 1))
        product = high * jnp.conj(low)
        size = jnp.abs(product).sum(axis=(0, 1, 2))
        found.append(product.real.sum(axis=(0, 1, 2)) < -AGAINST * jnp.maximum(size, 1e-30))
    return jnp.stack(found, axis=-1)


def without_alternation(
    signal: Complex[Array, "x y z echo"], axes: Bool[Array, "echo 3"]
) -> Complex[Array, "x y z echo"]:
    """Remove the signs of :func:`alternating_sign` from a signal; its own inverse."""
    place = jnp.indices(signal.shape[:3])
    odd = jnp.tensordot(place, axes.astype(place.dtype), axes=[[0], [1]]) % 2
    return jnp.where(odd == 1, -signal, signal)
