"""What training minimises: errors against truth, or against the data by the physics.

Each takes a batch and returns one number. Errors against truth are relative to its root mean square in the
mask of each example, so that a weak and a strong χ count alike.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.data_consistency import measurement

Volume = Float[Array, "batch x y z"]
Mask = Bool[Array, "batch x y z"]


def l1(prediction: Volume, target: Volume, mask: Mask) -> Float[Array, ""]:
    """Mean absolute error."""
    return jnp.mean(_mean(jnp.abs(prediction - target), mask) / _scale(target, mask))


def l2(prediction: Volume, target: Volume, mask: Mask) -> Float[Array, ""]:
    """Root mean square error: NRMSE."""
    square = _mean((prediction - target) ** 2, mask)
    return jnp.mean(jnp.sqrt(square + 1e-20) / _scale(target, mask))


def gradient(prediction: Volume, target: Volume, mask: Mask) -> Float[Array, ""]:
    """Mean absolute error of differences between neighbours within the mask.

    Source: Yoon et al. 2018, NeuroImage 179:199, doi:10.1016/j.neuroimage.2018.06.030 (QSMnet).
    """
    error = prediction - target
    total = jnp.zeros(len(error))
    for axis in (1, 2, 3):
        difference, both = _neighbours(error, mask, axis)
        total = total + _mean(jnp.abs(difference), both) / 3
    return jnp.mean(total / _scale(target, mask))


def edge(prediction: Volume, target: Volume, mask: Mask) -> Float[Array, ""]:
    """:func:`gradient`, weighted by the target's own differences: errors at the edges of structures.

    Source: Chen et al. 2020, NeuroImage 207:116389, doi:10.1016/j.neuroimage.2019.116389 (QSMGAN) uses an
    edge term; the weight here is the target's difference over its mean, up to 5.
    """
    total = jnp.zeros(len(prediction))
    for axis in (1, 2, 3):
        step, both = _neighbours(target, mask, axis)
        error, _ = _neighbours(prediction - target, mask, axis)
        weight = jnp.abs(step) / jnp.maximum(_mean(jnp.abs(step), both), 1e-12)[:, None, None, None]
        total = total + _mean(jnp.minimum(weight, 5) * jnp.abs(error), both) / 3
    return jnp.mean(total / _scale(target, mask))


def total_variation(prediction: Volume, mask: Mask) -> Float[Array, ""]:
    """Mean size of differences between neighbours, relative to the prediction's own size."""
    total = jnp.zeros(len(prediction))
    for axis in (1, 2, 3):
        difference, both = _neighbours(prediction, mask, axis)
        total = total + _mean(jnp.abs(difference), both) / 3
    return jnp.mean(total / _scale(prediction, mask))


def model(
    prediction: Volume, field: Volume, mask: Mask, geometry: Geometry, magnitude: Volume | None = None
) -> Float[Array, ""]:
    """Weighted mean absolute misfit of D * χ to the local field, relative to the field.

    Needs no truth: with :func:`total_variation` it is the loss of unsupervised training (uQSM).

    Sources: Yoon et al. 2018 (as above); Liu & Koch 2020, arXiv:2004.12573 (uQSM).
    """
    data = jax.vmap(measurement)(field, mask, geometry, magnitude)
    predicted = jax.vmap(lambda d, chi: d.predict(chi))(data, prediction)
    misfit = data.weights * jnp.abs(predicted - data.field)
    return jnp.mean(_mean(misfit, mask) / _scale(data.weights * data.field, mask))


def _mean(values: Volume, mask: Mask) -> Float[Array, " batch"]:
    return jnp.sum(values * mask, (1, 2, 3)) / jnp.maximum(jnp.sum(mask, (1, 2, 3)), 1)


def _scale(values: Volume, mask: Mask) -> Float[Array, " batch"]:
    mean_square = _mean(values**2, mask)
    return jnp.sqrt(jnp.where(mean_square > 0, mean_square, 1))


def _neighbours(values: Volume, mask: Mask, axis: int) -> tuple[Array, Array]:
    """Differences along an axis, and where both voxels are in the mask."""
    n = values.shape[axis]
    low, high = (jax.lax.slice_in_dim(values, i, n - 1 + i, axis=axis) for i in (0, 1))
    first, second = (jax.lax.slice_in_dim(mask, i, n - 1 + i, axis=axis) for i in (0, 1))
    return high - low, first & second
