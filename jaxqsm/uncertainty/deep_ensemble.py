"""Deep ensemble: distance of a map from those of independently trained networks."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.pretrained import learned
from jaxqsm.uncertainty.ensemble import Ensemble, ensemble
from jaxqsm.uncertainty.perturbation import noise_of_voxels
from jaxqsm.variational.common import confidence, referenced

MEMBERS = ("ensemble_1", "ensemble_2", "ensemble_3", "ensemble_4")
"""Small networks like :func:`jaxqsm.pretrained.learned`'s, each with first weights and data of its own."""

FACTOR = 1.9
"""Calibration factor of the distances, see ``pretrained/weights/ensemble.md``."""


def deep_ensemble(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    chi: Float[Array, "x y z"] | None = None,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    key: PRNGKeyArray | None = None,
    factor: float = FACTOR,
) -> Ensemble:
    """Invert with four networks, and measure the distance of a map of χ from theirs.

    Use it where scans may differ from the training of a single network.

    The networks are alike but for their first weights and their training data, and the input of each is the
    field with noise of the same size drawn onto it once more. Where field and training determine χ they
    agree; where not, each has its own opinion. What the map has that none of them has counts as well, so it
    may be of any inversion. What all of them get wrong alike does not: hence the factor.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        chi: the map that is asked about, ppm. Default: the mean of the networks' maps, about which the
            intervals are too narrow, as the networks are nearer to each other than to the truth.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        key: of the noise; default ``jax.random.key(0)``.
        factor: on the distance. Default 1.9, found on simulated patches;
            :func:`~jaxqsm.uncertainty.conformal_factor` finds that of one kind of scan.

    Returns:
        Mean of the networks' maps, standard deviation of the error of ``chi``, zero outside the mask, and
        their maps.

    References:
        Lakshminarayanan, Pritzel & Blundell 2017, NeurIPS, arXiv:1612.01474 (deep ensembles); Efron &
        Tibshirani 1993, An Introduction to the Bootstrap, doi:10.1201/9780429246593 (noise drawn anew).

    Example:
        >>> found = deep_ensemble(field, mask, geometry)  # doctest: +SKIP
        >>> sure = jnp.abs(found.mean) > 2 * found.standard_deviation  # doctest: +SKIP

    Example:
        >>> import jax
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> field = 0.01 * jax.random.normal(jax.random.key(1), mask.shape)
        >>> deep_ensemble(field, mask, Geometry()).standard_deviation.shape
        (16, 16, 16)
    """
    found = ensemble(
        [partial(learned, checkpoint=name) for name in MEMBERS],
        local_field,
        mask,
        geometry,
        weights=confidence(weights, magnitude),
        noise=noise_of_voxels(local_field, mask, confidence(weights, magnitude)),
        key=key,
    )
    distance = found.members - (found.mean if chi is None else referenced(chi, mask))
    return found._replace(standard_deviation=factor * jnp.sqrt(jnp.mean(distance**2, axis=0)) * mask)
