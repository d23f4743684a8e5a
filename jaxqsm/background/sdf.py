"""Spatially dependent filtering: a Gaussian as wide as the distance to the border allows."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import MaskedVolume, erode, gaussian_mean

REACH = 2.0
"""Standard deviations of the Gaussian that are to lie within the mask."""


@partial(jax.jit, static_argnames=("standard_deviations", "outer_iterations"))
def sdf(
    total_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    excluded: Bool[Array, "x y z"] | None = None,
    standard_deviations: tuple[float, ...] = (10.0, 8.0, 6.0, 4.0, 3.0, 2.0, 1.0),
    erosion: float = 2.0,
    outer_iterations: int = 2,
) -> MaskedVolume:
    """Subtract the mean under a Gaussian within the mask, wide inside and narrow at the border.

    Use it within qsmart, and to compare with it.

    A background field varies slowly inside, and fast near its sources beyond the border: so does the filter.
    What varies slowly in the local field is lost with it.

    Args:
        total_field: ppm, shape ``(x, y, z)``.
        mask: where the total field is valid.
        geometry: voxel size (mm); the field direction is not used.
        excluded: voxels that no mean takes in and that have no local field, such as vessels. Default: none.
        standard_deviations: standard deviations in mm, falling; every voxel has the largest of which two lie
            within the mask, or the last. Default 10 (published for the first stage) to 1.
        erosion: mm that are taken off the mask afterwards. Default 2: half Gaussians miss most there.
        outer_iterations: how often the residual field is filtered again. Default 2: near a straight border
            half a Gaussian is not centred, and one pass leaves the field's slope.

    Returns:
        Local field in ppm (zero outside), and the mask where it is valid. Differentiable in field and voxel
        size.

    References:
        Yaghmaie et al. 2021, NeuroImage 231:117701, doi:10.1016/j.neuroimage.2020.117701 (QSMART).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> local, valid = sdf(jnp.zeros(mask.shape), mask, Geometry())
        >>> local.shape, valid.shape
        ((16, 16, 16), (16, 16, 16))
    """
    used = mask if excluded is None else mask & ~excluded
    inside = used.astype(total_field.dtype)
    owners, taken = [], jnp.zeros_like(mask)
    for standard_deviation in standard_deviations:
        fits = (
            mask
            if standard_deviation == standard_deviations[-1]
            else erode(mask, REACH * standard_deviation, geometry)
        )
        owners.append(fits & ~taken)
        taken = taken | fits
    counts = [
        gaussian_mean(inside, standard_deviation, geometry) for standard_deviation in standard_deviations
    ]
    local = total_field * inside
    for _ in range(outer_iterations):
        mean = jnp.zeros_like(local)
        for owner, standard_deviation, count in zip(owners, standard_deviations, counts, strict=True):
            smooth = gaussian_mean(local, standard_deviation, geometry)
            mean = jnp.where(owner, smooth / jnp.maximum(count, 1e-3), mean)
        local = (local - mean) * inside
    valid = used & erode(mask, erosion, geometry)
    return MaskedVolume(local * valid, valid)
