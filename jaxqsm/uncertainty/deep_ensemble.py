"""How far networks that were trained apart find other maps than the one asked about."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.inversion.common import referenced
from jaxqsm.networks import learned_members

FACTOR = 1.0
"""Of distances, such that 90 % of errors lie within 1.645 of them, see ``networks/weights/ensemble.md``."""


def deep_ensemble(
    chi: Float[Array, "x y z"],
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    factor: float = FACTOR,
) -> Float[Array, "x y z"]:
    """Standard deviation of the error of a map of χ: root mean square distance from those of four networks.

    The networks (:func:`jaxqsm.networks.learned_members`) are alike but for their first weights and their
    training data. Where field and training determine χ they agree; where not, each has its own opinion. What
    the map has that none of them has counts as well, so the map may be of any inversion. What all of them get
    wrong alike is not in it: hence the factor.

    Args:
        chi: the map, ppm, shape ``(x, y, z)``.
        local_field: ppm, that it was made from.
        mask: where both are valid.
        geometry: voxel size and field direction.
        magnitude: optional, any unit.
        factor: on the distance. Default FACTOR.

    Returns:
        ppm, zero outside the mask. To have the maps themselves, and their mean, call
        :func:`jaxqsm.networks.learned_members`.

    References:
        Lakshminarayanan, Pritzel & Blundell 2017, NeurIPS, arXiv:1612.01474 (deep ensembles);
        Angelopoulos & Bates 2023, FTML 16:494, doi:10.1561/2200000101 (the factor).
    """
    members = learned_members(local_field, mask, geometry, magnitude=magnitude)
    distance = members - referenced(chi, jnp.asarray(mask))
    return factor * jnp.sqrt(jnp.mean(distance**2, axis=0)) * mask
