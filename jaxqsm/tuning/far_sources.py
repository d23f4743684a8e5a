"""Field that the sources outside a box make within it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import laplacian_symbol
from jaxqsm.operators.padding import Shape
from jaxqsm.physics import dipole_field, dipole_kernel
from jaxqsm.variational.common import filtered, padded_shape, regularised_inverse

STRENGTH = 0.02
"""mm², of the penalty on the gradient; details of χ do not matter to the far field."""


def field_of_far_sources(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    corner: tuple[ArrayLike, ...],
    size: Shape,
    geometry: Geometry,
) -> Float[Array, "x y z"]:
    """Estimate the field of all sources outside a box, those that :func:`smooth_chi` finds.

    Args:
        local_field: ppm.
        mask: where it is valid.
        corner: first voxel of the box.
        size: of the box in voxels.
        geometry: voxel size and field direction.
    """
    return field_from_outside(smooth_chi(local_field, mask, geometry), corner, size, geometry)


def field_from_outside(
    chi: Float[Array, "x y z"], corner: tuple[ArrayLike, ...], size: Shape, geometry: Geometry
) -> Float[Array, "x y z"]:
    """Compute the field in ppm of the χ that lies outside a box of ``size`` voxels from ``corner`` on."""
    return dipole_field(jax.lax.dynamic_update_slice(chi, jnp.zeros(size, chi.dtype), corner), geometry)


def smooth_chi(
    local_field: Float[Array, "x y z"], mask: Bool[Array, "x y z"], geometry: Geometry
) -> Float[Array, "x y z"]:
    """Find χ in ppm by Tikhonov inversion of a local field in closed form, as far fields need it.

    References:
        Bilgic et al. 2014, JMRI 40:181, doi:10.1002/jmri.24365 (closed-form inversion).
    """
    shape = padded_shape(mask.shape)
    kernel = dipole_kernel(shape, geometry)
    response = regularised_inverse(kernel, STRENGTH * laplacian_symbol(shape, geometry))
    return filtered(local_field * mask, mask, response)
