"""Thresholded k-space division."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import all_frequencies
from jaxqsm.physics import dipole_kernel
from jaxqsm.variational.common import filtered, padded_shape


@partial(jax.jit, static_argnames="scale_correction")
def tkd(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    threshold: float = 0.19,
    scale_correction: bool = False,
) -> Float[Array, "x y z"]:
    """Divide the spectrum of the field by the dipole kernel D, bounded away from zero.

    Use it for a first look in milliseconds.

    Where |D| < threshold the divisor is sign(D) · threshold.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        threshold: smallest divisor; default 0.19 (2/3 of the way to noise-free, as published).
        scale_correction: divide by the mean of D times the bounded inverse, which undoes the
            systematic underestimation of an even spectrum. Default false: a brain's is not even, χ comes out
            too strong, and noise with it (``results/measured.md``).

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Two real FFTs. Differentiable.

    References:
        Shmueli et al. 2009, MRM 62:1510, doi:10.1002/mrm.22135 (method);
        Schweser et al. 2013, MRM 69:1581, doi:10.1002/mrm.24405 (scale correction).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = tkd(jnp.zeros(mask.shape), mask, Geometry())
        >>> chi.shape
        (16, 16, 16)
    """
    shape = padded_shape(local_field.shape)
    kernel = dipole_kernel(shape, geometry)
    bounded = jnp.where(kernel < 0, jnp.minimum(kernel, -threshold), jnp.maximum(kernel, threshold))
    inverse = 1 / bounded
    if scale_correction:
        inverse = inverse / jnp.mean(all_frequencies(kernel * inverse, shape[-1]))
    return filtered(local_field * mask, mask, inverse)
