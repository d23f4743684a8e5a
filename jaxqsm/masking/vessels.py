"""Vessels: dark tubes in the magnitude."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import (
    fast_shape,
    frequencies,
    gaussian_response,
    irfftn,
    odd_frequencies,
    quantile,
    rfftn,
    weighted_mean,
)

NEIGHBOURHOOD = 8.0
"""mm, of the ball whose mean fills what lies outside the mask: its border is no tube."""

PLATES = 0.5
BALLS = 0.5
"""Sensitivity of the two ratios that tell tubes from plates and blobs, as published."""


@partial(jax.jit, static_argnames=("standard_deviations",))
def vessels(
    magnitude: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    part: float = 0.04,
    standard_deviations: Sequence[float] = (0.7, 1.4, 2.1),
) -> Bool[Array, "x y z"]:
    """Segment dark tubes of the magnitude, such as veins at a late echo.

    Vesselness is that of the eigenvalues of the Hessian at several scales, the largest of which counts.

    Args:
        magnitude: any unit.
        mask: of the brain.
        geometry: voxel size (mm).
        part: of the mask that is taken for vessels. Default 0.04, about the volume of the veins that are seen
            and their surroundings.
        standard_deviations: of the Gaussians in mm; default 0.7, 1.4 and 2.1, tubes of 2 to 6 mm.

    Returns:
        Boolean, within the mask.

    References:
        Frangi, Niessen, Vincken & Viergever 1998, MICCAI, doi:10.1007/BFb0056195.
    """
    inside = mask.astype(magnitude.dtype)
    even = magnitude / jnp.maximum(jnp.sum(magnitude * inside) / jnp.maximum(inside.sum(), 1), 1e-30)
    even = jnp.where(mask, even, weighted_mean(even, inside, NEIGHBOURHOOD, geometry))
    best = jnp.zeros_like(even)
    for standard_deviation in standard_deviations:
        best = jnp.maximum(best, _vesselness(even, standard_deviation, geometry))
    threshold = jnp.nan_to_num(quantile(best, mask, 1 - part))
    return mask & (best > threshold)


def _vesselness(image: Array, standard_deviation: float, geometry: Geometry) -> Array:
    shape = fast_shape(image.shape, 8)
    k, odd = frequencies(shape, geometry), odd_frequencies(shape, geometry)
    spectrum = rfftn(image, shape) * gaussian_response(shape, standard_deviation, geometry)

    def second(i: int, j: int) -> Array:
        derivative = -((2 * jnp.pi * standard_deviation) ** 2) * (k[i] ** 2 if i == j else odd[i] * odd[j])
        return irfftn(spectrum * derivative, shape, image.shape)

    values = _eigenvalues(*(second(i, j) for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))))
    # In order of size: along the tube nothing changes, across it the image bends up both ways.
    ordered = jnp.sort(jnp.abs(values), axis=0)
    along, across, most = ordered
    # The largest is positive: compared by sign, as equal numbers need not be equal once compiled.
    dark = (jnp.sum(values > 0, axis=0) >= 2) & (jnp.max(values, axis=0) >= -jnp.min(values, axis=0))
    plate = across / jnp.maximum(most, 1e-20)
    blob = along / jnp.sqrt(jnp.maximum(across * most, 1e-20))
    strength = jnp.sqrt(jnp.sum(values**2, axis=0))
    typical = 0.5 * jnp.max(jnp.where(dark, strength, 0)) + 1e-20
    shape_like = (1 - jnp.exp(-(plate**2) / (2 * PLATES**2))) * jnp.exp(-(blob**2) / (2 * BALLS**2))
    return jnp.where(dark, shape_like * (1 - jnp.exp(-(strength**2) / (2 * typical**2))), 0)


def _eigenvalues(xx: Array, yy: Array, zz: Array, xy: Array, xz: Array, yz: Array) -> Array:
    """Eigenvalues of symmetric 3 × 3 matrices, largest first (Smith 1961, doi:10.1145/355578.366316)."""
    mean = (xx + yy + zz) / 3
    a, b, c = xx - mean, yy - mean, zz - mean
    size = jnp.sqrt((a**2 + b**2 + c**2 + 2 * (xy**2 + xz**2 + yz**2)) / 6 + 1e-30)
    determinant = a * (b * c - yz**2) - xy * (xy * c - yz * xz) + xz * (xy * yz - b * xz)
    angle = jnp.arccos(jnp.clip(determinant / (2 * size**3), -1, 1)) / 3
    first = mean + 2 * size * jnp.cos(angle)
    last = mean + 2 * size * jnp.cos(angle + 2 * jnp.pi / 3)
    return jnp.stack([first, 3 * mean - first - last, last])
