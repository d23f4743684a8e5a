"""Standard deviations made right by scans whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Bool, Float

from jaxqsm.operators import quantile

LEAST_STANDARD_DEVIATION = 1e-12
"""ppm."""


def conformal_factor(
    errors: Sequence[Float[Array, "x y z"]],
    standard_deviations: Sequence[Float[Array, "x y z"]],
    masks: Sequence[Bool[Array, "x y z"]],
    *,
    level: float = 0.9,
) -> Float[Array, ""]:
    """Find the factor on standard deviations that calibrates their intervals (conformal prediction).

    A method that counts noise alone, or whose prior is not quite that of tissue, gives standard deviations
    that are too small or too large by much the same factor in scans of one kind. So simulate a few of your
    kind (voxel size, noise, field strength), and multiply by what they show. Where a new scan is like them
    its intervals of ``level`` then hold the truth in that part of the voxels, whatever the method assumes; a
    new kind of scan needs a new factor.

    Args:
        errors: estimate less truth of each scan, both relative to their means in the mask; shapes may differ.
        standard_deviations: that the method gave for each, same unit.
        masks: voxels that count.
        level: nominal part, 0 to 1. Default 0.9.

    Returns:
        The factor: the quantile of |error| / standard deviation over all voxels, over that of a normal
        distribution.

    Raises:
        ValueError: not as many errors as standard deviations and masks, or none.

    References:
        Angelopoulos et al. 2022, ICML, arXiv:2202.05265 (conformal intervals for images).

    Example:
        >>> mask = jnp.ones((4, 4, 4), bool)
        >>> error = jnp.linspace(-1, 1, 64).reshape(mask.shape)
        >>> round(float(conformal_factor([error], [0.1 * mask], [mask], level=0.5)), 1)
        7.5
    """
    if not len(errors) == len(standard_deviations) == len(masks) > 0:
        raise ValueError(
            f"{len(errors)} errors, {len(standard_deviations)} standard deviations and {len(masks)} masks: "
            "one of each a scan"
        )
    ratios = [
        jnp.ravel(jnp.abs(error) / jnp.maximum(standard_deviation, LEAST_STANDARD_DEVIATION))
        for error, standard_deviation in zip(errors, standard_deviations, strict=True)
    ]
    inside = jnp.concatenate([jnp.ravel(mask) for mask in masks])
    return quantile(jnp.concatenate(ratios), inside, level) / ndtri(0.5 + level / 2)
