"""Size of what was scanned, relative to the adult human head that defaults in mm are made for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.masking.morphology import depth, found
from jaxqsm.operators.on_host import branch

ADULT_BRAIN = 1.4e6
"""mm³, volume of a mask of the adult brain with its cerebrospinal fluid."""

MOSTLY = 0.5
"""Share of an object's surface on the border of the array from which it is cut out of a larger one."""

LEAST_HALF_WIDTH = 10.0
"""mm; a piece of a head that is thinner is taken for one of a smaller object."""


def object_scale(
    mask: Bool[Array, "x y z"], geometry: Geometry, *, volume: float = ADULT_BRAIN
) -> Float[Array, ""]:
    """Measure the length of an object relative to an adult's: the cube root of the volume ratio.

    Radii, erosions and weights in mm that suit a head of 140 mm are too long for a mouse's of 10 mm, and
    their share of the object is what matters. An object that is mostly cut off by the array's border is of
    unknown size, and taken for a piece of an adult head unless it is thinner than such a piece would be.

    Args:
        mask: of the object.
        geometry: voxel size (mm).
        volume: of the adult's, mm³. Default 1.4e6, of a brain.

    Returns:
        1 for an adult, 0.07 for a mouse. Where the voxel size is multiplied by a factor so is this. Under
        ``jit`` 0 for an empty mask.

    Raises:
        ValueError: the mask is empty.

    Example:
        >>> mask = jnp.ones((9, 9, 9), bool)
        >>> round(float(object_scale(jnp.pad(mask, 1), Geometry((0.2, 0.2, 0.2)))), 4)
        0.0161
    """
    return size_of(found(mask, "the mask is empty"), geometry, volume=volume)


def size_of(mask: Bool[Array, "x y z"], geometry: Geometry, *, volume: float) -> Float[Array, ""]:
    """Measure as :func:`object_scale`, of a mask that may be empty."""

    def as_a_piece() -> Array:
        return jnp.minimum(1.0, depth(jnp.pad(mask, 1), geometry).max() / LEAST_HALF_WIDTH)

    def as_a_whole() -> Array:
        return jnp.cbrt(jnp.sum(mask, dtype=jnp.float32) * geometry.voxel_volume / volume)

    return branch(is_cut_out(mask, geometry), as_a_piece, as_a_whole)


@jax.jit
def is_cut_out(mask: Bool[Array, "x y z"], geometry: Geometry) -> Bool[Array, ""]:
    """Check whether most of a mask's surface lies on the array's border, as of a cut-out crop."""
    border = free = jnp.float32(0)
    for axis in range(3):
        face = geometry.voxel_volume / geometry.voxel_size[axis]
        layers = jnp.moveaxis(mask, axis, 0)
        border += face * (layers[0].sum() + layers[-1].sum())
        free += face * (layers[1:] != layers[:-1]).sum()
    return border > MOSTLY * (border + free)
