"""Laplacian boundary value method."""

from __future__ import annotations

from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import MaskedVolume, erode, subtract_harmonic_extension


def lbv(
    total_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    erosion: float = 4.0,
    max_iterations: int = 20,
) -> MaskedVolume:
    """Subtract the harmonic field that equals the total field on the border of the mask.

    Use it where the border is reliable: it assumes no local field there.

    Local fields are small on the border; background fields are harmonic inside it. So the background is
    the solution of Laplace's equation with the total field as its boundary value.

    Args:
        total_field: ppm, shape ``(x, y, z)``.
        mask: where the total field is valid.
        geometry: voxel size (mm); the field direction is not used.
        erosion: mm taken off the mask first, as the field is least certain there. Default 4: veins of the
            dura lie on the border, whose field would be taken for background.
        max_iterations: conjugate-gradient steps, preconditioned by Poisson's equation on the whole array.
            Default 20; about 10 suffice.

    Returns:
        Local field in ppm, zero outside, and the eroded mask without the layer that holds the
        boundary values. Two real FFTs an iteration. The derivative is one more solve.

    References:
        Zhou, Liu, Spincemaille & Wang 2014, NMR Biomed 27:312, doi:10.1002/nbm.3064.

    Example:
        >>> import jax.numpy as jnp
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> local, valid = lbv(jnp.zeros(mask.shape), mask, Geometry(), erosion=1.0, max_iterations=2)
        >>> local.shape, valid.shape
        ((16, 16, 16), (16, 16, 16))
    """
    inner = erode(mask, erosion, geometry) if erosion > 0 else mask
    return subtract_harmonic_extension(total_field, inner, geometry, max_iterations=max_iterations)
