"""Errors of a measured field that are not white noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.operators import erode
from jaxqsm.phantoms.random_shapes import random_field

WHITE = 0.5
"""Part of the errors' power that is white."""

CORRELATED = {2.5: 0.35, 6.0: 0.15}
"""Parts of the power that are smooth, by the standard deviation in mm of the Gaussian that smooths them."""

STRONG_SOURCE = 0.08
"""ppm. Where |χ| is this, errors are twice as large, by flow, partial volume and dephasing within voxels."""

RIM = 1.5
"""mm. Depth of the border where errors are larger."""

RIM_GAIN = 4 / 3
"""Errors in the border over those deeper inside."""


def field_errors(
    chi: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    standard_deviation: ArrayLike,
    key: PRNGKeyArray,
) -> Float[Array, "x y z"]:
    """Draw errors that are correlated, twice as large at strong sources, and larger at the border.

    e = s g n / rms(g n): n is the sum of white noise and of smooth noises of two lengths, and
    g = (1 + |χ| / 0.08 ppm) · (4/3 in the outer 1.5 mm). The parts are those of the difference between a
    measured local field at 1 mm and the dipole field of the χ that many orientations agree on: half of its
    power is above 0.2 cycles/mm and a sixth below 0.04, neighbours correlate by 0.5, and it is uncorrelated
    with χ itself.

    Args:
        chi: ppm.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        standard_deviation: s, ppm, root mean square in the mask.
        key: of the draw.

    Returns:
        Errors in ppm, zero outside the mask. Four real FFTs, and those of an erosion.

    References:
        Langkammer et al. 2018, MRM 79:1661, doi:10.1002/mrm.26830 (the 2016 challenge: measured field and
        multi-orientation χ).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> errors = field_errors(
        ...     jnp.zeros(mask.shape), mask, Geometry(), standard_deviation=0.01, key=jax.random.key(0)
        ... )
        >>> round(float(jnp.std(errors)), 3)
        0.01
    """
    shape = mask.shape
    of_white, *of_smooth = jax.random.split(key, 1 + len(CORRELATED))
    noise = WHITE**0.5 * jax.random.normal(of_white, shape)
    for one, (length, part) in zip(of_smooth, CORRELATED.items(), strict=True):
        smooth = random_field(shape, geometry, standard_deviation=1.0, smoothness=length, key=one)
        noise = noise + part**0.5 * smooth
    gain = (1 + jnp.abs(chi) / STRONG_SOURCE) * jnp.where(erode(mask, RIM, geometry), 1, RIM_GAIN)
    errors = gain * noise * mask
    count = jnp.maximum(mask.sum(), 1)
    return standard_deviation * errors / jnp.sqrt(jnp.maximum(jnp.sum(errors**2) / count, 1e-12))
