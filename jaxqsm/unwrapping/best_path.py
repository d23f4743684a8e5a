"""Best-path unwrapping, by scikit-image."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float
from skimage.restoration import unwrap_phase

from jaxqsm.geometry import Geometry


def best_path(
    wrapped: Float[Array, "x y z *echo"], mask: Bool[Array, "x y z"], geometry: Geometry
) -> Float[Array, "x y z *echo"]:
    """Unwrap along the path of smoothest phase, echo by echo.

    Use it as an exact alternative for single echoes without magnitude.

    Voxels are joined in the order of the second differences between them. This is scikit-image's compiled
    loop on the CPU: under ``jit``, ``grad`` or ``vmap`` it becomes a host callback that returns whole
    numbers only, so the gradient is the identity.

    Args:
        wrapped: phase in rad.
        mask: where phase is meaningful. Parts that do not touch differ by any multiple of 2π.
        geometry: not used; kept for the common signature.

    Returns:
        ``wrapped`` plus whole multiples of 2π in the mask, zero outside; the median of an echo is within
        half a turn of zero.

    References:
        Abdul-Rahman et al. 2007, Appl Opt 46:6623, doi:10.1364/AO.46.006623.

    Example:
        >>> phase = jnp.broadcast_to(jnp.linspace(0, 20, 16), (16, 16, 16))
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> unwrapped = best_path(jnp.angle(jnp.exp(1j * phase)), mask, Geometry())
        >>> bool(jnp.ptp(unwrapped) > 19)
        True
    """
    del geometry
    shape = jax.ShapeDtypeStruct(wrapped.shape, jnp.int32)
    if isinstance(wrapped, jax.core.Tracer) or isinstance(mask, jax.core.Tracer):
        stopped = jax.lax.stop_gradient((wrapped, mask))
        wraps = jax.pure_callback(_count_wraps, shape, *stopped, vmap_method="sequential")
    else:
        wraps = jnp.asarray(_count_wraps(wrapped, mask))
    inside = mask if wrapped.ndim == 3 else mask[..., None]
    return (wrapped + 2 * jnp.pi * wraps.astype(wrapped.dtype)) * inside


def _count_wraps(wrapped: ArrayLike, mask: ArrayLike) -> np.ndarray:
    phase, inside = np.asarray(wrapped, float), np.asarray(mask, bool)
    if phase.ndim == 4:
        echoes = [_count_wraps(phase[..., echo], inside) for echo in range(phase.shape[-1])]
        return np.stack(echoes, axis=-1)
    if not inside.any():
        return np.zeros(phase.shape, np.int32)
    turn = 2 * np.pi
    within = phase - turn * np.rint(phase / turn)
    unwrapped = np.asarray(unwrap_phase(np.ma.array(within, mask=~inside)))
    turns = np.where(inside, np.rint((unwrapped - phase) / turn), 0)
    turns -= np.rint(np.median((phase + turn * turns)[inside]) / turn)
    return np.where(inside, turns, 0).astype(np.int32)
