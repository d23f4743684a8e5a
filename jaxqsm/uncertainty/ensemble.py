"""Spread of several estimates of χ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.variational.common import confidence


class Ensemble(NamedTuple):
    """Several estimates as one.

    Attributes:
        mean: of the members, ppm.
        standard_deviation: of the members, ppm, zero outside the mask.
        members: χ of each, ``(member, x, y, z)``, ppm.
    """

    mean: Float[Array, "x y z"]
    standard_deviation: Float[Array, "x y z"]
    members: Float[Array, "member x y z"]


def ensemble(
    inversions: Sequence[Callable[..., Float[Array, "x y z"]]],
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    noise: Float[Array, "*#xyz"] | float = 0.0,
    key: PRNGKeyArray | None = None,
) -> Ensemble:
    """Compute mean and spread of χ of several inversions: networks of several seeds, or fits.

    The mean is often better than any member. The spread is what chance in training or fitting does, and the
    noise of the field if that is given; an error that all members share is not in it, so that intervals made
    of it are too narrow by as much (:func:`~jaxqsm.uncertainty.coverage` tells,
    :func:`~jaxqsm.uncertainty.conformal_factor` mends).

    Args:
        inversions: functions of field, mask, geometry and ``weights``, at least two, for example
            ``partial(learned, weights=path)`` or ``partial(implicit_representation, key=key)``.
        local_field: ppm, shape ``(x, y, z)``.
        mask: where it is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        noise: standard deviation of the field's noise, ppm, which is then drawn onto the field of every
            member. Their mean is less accurate for it, their spread wider. Default: none.
        key: random state of that; default ``jax.random.key(0)``.

    Returns:
        Mean, standard deviation and members.

    Raises:
        ValueError: fewer than two inversions.

    Example:
        >>> from jaxqsm.inversion import tkd, tsvd
        >>> mask = jnp.ones((6, 6, 6), bool)
        >>> members = [lambda f, m, g, invert=invert, **_: invert(f, m, g) for invert in (tkd, tsvd)]
        >>> ensemble(members, jnp.zeros(mask.shape), mask, Geometry()).members.shape
        (2, 6, 6, 6)

    References:
        Efron & Tibshirani 1993, An Introduction to the Bootstrap, doi:10.1201/9780429246593 (noise drawn
        anew); Lakshminarayanan, Pritzel & Blundell 2017, NeurIPS, arXiv:1612.01474 (deep ensembles).
    """
    if len(inversions) < 2:
        raise ValueError(f"ensemble needs at least two inversions, not {len(inversions)}")
    keys = jax.random.split(jax.random.key(0) if key is None else key, len(inversions))
    each = []
    for own, invert in zip(keys, inversions, strict=True):
        drawn = noise * jax.random.normal(own, mask.shape) * mask
        each.append(invert(local_field + drawn, mask, geometry, weights=confidence(weights, magnitude)))
    members = jnp.stack(each)
    return Ensemble(members.mean(0), members.std(0, ddof=1) * mask, members)
