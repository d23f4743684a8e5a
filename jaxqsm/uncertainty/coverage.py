"""Calibration of standard deviations, where the truth is known."""

from __future__ import annotations

import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import rfftn
from jaxqsm.physics import dipole_kernel
from jaxqsm.variational.common import padded_shape


def coverage(
    error: Float[Array, "x y z"],
    standard_deviation: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    *,
    level: float = 0.9,
) -> Float[Array, ""]:
    """Compute the part of the voxels whose error lies within the central normal interval of ``level``.

    Args:
        error: estimate less truth, both relative to their means in the mask.
        standard_deviation: the standard deviation that was given for it, same unit.
        mask: voxels that count.
        level: nominal part, 0 to 1. Default 0.9, i.e. 1.645 standard deviations.

    Returns:
        From 0 to 1; ``level`` where the standard deviation is right.
    """
    within = jnp.abs(error) <= ndtri(0.5 + level / 2) * standard_deviation
    return jnp.sum(within & mask) / jnp.maximum(mask.sum(), 1)


def cone_energy(
    error: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    threshold: float = 0.1,
) -> Float[Array, ""]:
    """Compute the part of the error's energy near the magic-angle cone of the dipole.

    Args:
        error: estimate less truth, any unit.
        mask: voxels that count.
        geometry: voxel size and field direction.
        threshold: |dipole kernel| below which a frequency is near the cone. Default 0.1.

    Returns:
        From 0 to 1.
    """
    shape = padded_shape(error.shape)
    spectrum = jnp.abs(rfftn(error * mask, shape)) ** 2
    # All but the first and last planes of the half spectrum stand for two.
    twice = jnp.full(spectrum.shape[-1], 2.0).at[0].set(1.0)
    twice = twice.at[-1].set(1.0 if shape[-1] % 2 == 0 else 2.0)
    near = jnp.abs(dipole_kernel(shape, geometry)) < threshold
    near = near.at[0, 0, 0].set(False)
    total = jnp.sum(spectrum * twice)
    return jnp.sum(spectrum * twice * near) / jnp.where(total > 0, total, 1)
