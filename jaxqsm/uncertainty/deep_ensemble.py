"""How far networks that were trained apart find other maps than the one asked about."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.inversion.common import referenced
from jaxqsm.networks import learned_members
from jaxqsm.uncertainty.ensemble import Ensemble

FACTOR = 1.0
"""Of distances, such that 90 % of errors lie within 1.645 of them, see ``networks/weights/ensemble.md``."""


def deep_ensemble(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    chi: Float[Array, "x y z"] | None = None,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    factor: float = FACTOR,
) -> Ensemble:
    """Four networks' maps of χ, and how sure a map is: their root mean square distance from it.

    The networks (:func:`jaxqsm.networks.learned_members`) are alike but for their first weights and their
    training data. Where field and training determine χ they agree; where not, each has its own opinion. What
    the map has that none of them has counts as well, so it may be of any inversion. What all of them get
    wrong alike does not: hence the factor.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        chi: the map that is asked about, ppm. Default: the mean of the networks' maps.
        magnitude: optional, any unit; voxels count by it.
        factor: on the distance. Default FACTOR, of simulated patches.

    Returns:
        Mean of the networks' maps, deviation of the error of ``chi``, zero outside the mask, and their maps.

    References:
        Lakshminarayanan, Pritzel & Blundell 2017, NeurIPS, arXiv:1612.01474 (deep ensembles); Angelopoulos et
        al. 2022, ICML, arXiv:2202.05265 (the factor).

    Example:
        >>> found = deep_ensemble(field, mask, geometry)  # doctest: +SKIP
        >>> sure = jnp.abs(found.mean) > 2 * found.deviation  # doctest: +SKIP
    """
    members = learned_members(local_field, mask, geometry, magnitude=magnitude)
    mean = members.mean(0)
    distance = members - (mean if chi is None else referenced(chi, jnp.asarray(mask)))
    return Ensemble(mean, factor * jnp.sqrt(jnp.mean(distance**2, axis=0)) * mask, members)
