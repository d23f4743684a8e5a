"""Voxel-wise agreement. Means inside the mask are removed first: χ has no absolute reference.

Definitions are those of the QSM challenge 2.0: Bilgic et al. 2021, MRM 86:1241,
doi:10.1002/mrm.28754.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def nrmse(
    image: Float[Array, "x y z"], truth: Float[Array, "x y z"], mask: Bool[Array, "x y z"]
) -> Float[Array, ""]:
    """Compute the root mean square error over that of the demeaned truth, in percent."""
    a, b = _demeaned(image, mask), _demeaned(truth, mask)
    return 100 * jnp.linalg.norm((a - b).ravel()) / jnp.linalg.norm(b.ravel())


def detrended_nrmse(
    image: Float[Array, "x y z"], truth: Float[Array, "x y z"], mask: Bool[Array, "x y z"]
) -> Float[Array, ""]:
    """Compute :func:`nrmse` of the image divided by its :func:`slope` against the truth."""
    a, b = _demeaned(image, mask), _demeaned(truth, mask)
    a = a / slope(image, truth, mask)
    return 100 * jnp.linalg.norm((a - b).ravel()) / jnp.linalg.norm(b.ravel())


def correlation(
    image: Float[Array, "x y z"], truth: Float[Array, "x y z"], mask: Bool[Array, "x y z"]
) -> Float[Array, ""]:
    """Compute the Pearson correlation in the mask."""
    a, b = _demeaned(image, mask), _demeaned(truth, mask)
    return jnp.sum(a * b) / jnp.sqrt(jnp.sum(a * a) * jnp.sum(b * b))


def slope(
    image: Float[Array, "x y z"], truth: Float[Array, "x y z"], mask: Bool[Array, "x y z"]
) -> Float[Array, ""]:
    """Compute the regression slope of the image on the truth: below 1 underestimates."""
    a, b = _demeaned(image, mask), _demeaned(truth, mask)
    return jnp.sum(a * b) / jnp.sum(b * b)


def _demeaned(image: Array, mask: Array) -> Array:
    inside = jnp.asarray(mask).astype(jnp.result_type(float))
    return (image - jnp.sum(inside * image) / inside.sum()) * inside
