"""Sophisticated harmonic artefact reduction for phase data."""

from __future__ import annotations

from jaxtyping import Array, Bool, Float

from jaxqsm.background.v_sharp import v_sharp
from jaxqsm.geometry import Geometry
from jaxqsm.operators import MaskedVolume


def sharp(
    total_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    radius: float = 6.0,
    threshold: float = 0.05,
) -> MaskedVolume:
    """Subtract the spherical mean of the field, then deconvolve the SMV filter (SHARP).

    Use it to compare with older work.

    Args:
        total_field: ppm, shape ``(x, y, z)``.
        mask: where the total field is valid.
        geometry: voxel size (mm); the field direction is not used.
        radius: of the SMV kernel in mm; default 6. The mask loses as much.
        threshold: smallest divisor in k-space; default 0.05, as published.

    Returns:
        Local field in ppm, zero outside, and the mask eroded by the kernel. Nine real FFTs. Differentiable.

    References:
        Schweser et al. 2011, NeuroImage 54:2789, doi:10.1016/j.neuroimage.2010.10.070.

    Example:
        >>> import jax.numpy as jnp
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> local, valid = sharp(jnp.zeros(mask.shape), mask, Geometry(), radius=3.0)
        >>> local.shape, valid.shape
        ((16, 16, 16), (16, 16, 16))
    """
    return v_sharp(total_field, mask, geometry, radii=(radius,), threshold=threshold, outer_iterations=0)
