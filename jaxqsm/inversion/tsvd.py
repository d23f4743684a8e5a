"""Truncated singular value decomposition."""

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
def tsvd(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    threshold: float = 0.1,
    scale_correction: bool = False,
) -> Float[Array, "x y z"]:
    """Divide the spectrum of the field by the dipole kernel D, and leave out where |D| < threshold.

    Use it as a linear baseline.

    The singular values of convolution with the dipole are |D|.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        threshold: smallest divisor; default 0.1, as published.
        scale_correction: divide by the part of the spectrum that is kept, which undoes the systematic
            underestimation of an even spectrum. Default false, as for :func:`~jaxqsm.inversion.tkd`.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Two real FFTs. Differentiable.

    References:
        Wharton, Schäfer & Bowtell 2010, MRM 63:1292, doi:10.1002/mrm.22334 (method);
        Schweser et al. 2013, MRM 69:1581, doi:10.1002/mrm.24405 (scale correction).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = tsvd(jnp.zeros(mask.shape), mask, Geometry())
        >>> chi.shape
        (16, 16, 16)
    """
    shape = padded_shape(local_field.shape)
    kernel = dipole_kernel(shape, geometry)
    kept = jnp.abs(kernel) > threshold
    inverse = jnp.where(kept, 1 / jnp.where(kept, kernel, 1), 0)
    if scale_correction:
        inverse = inverse / jnp.mean(all_frequencies(kept, shape[-1]))
    return filtered(local_field * mask, mask, inverse)
