"""Training losses: errors against the truth, or against the data through the physics.

Each takes a batch and returns one number. Errors against truth are relative to its root mean square in the
mask of each example, so that a weak and a strong χ count alike.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.data_consistency import measurement
from jaxqsm.networks.network import VoxelwiseNormal
from jaxqsm.operators import irfftn, rfftn

NOISE = 0.1
"""Standard deviation of the field noise over the field's root mean square."""

TYPICAL_CHI = 0.05
"""ppm, root mean square in a brain."""

PRIOR = 1.0
"""Weight of total variation against a voxel's likelihood."""

Volume = Float[Array, "batch x y z"]
Mask = Bool[Array, "batch x y z"]


def l1(prediction: Volume, target: Volume, mask: Mask) -> Float[Array, ""]:
    """Compute the mean absolute error."""
    return jnp.mean(_mean(jnp.abs(prediction - target), mask) / _scale(target, mask))


def l2(prediction: Volume, target: Volume, mask: Mask) -> Float[Array, ""]:
    """Compute the root mean square error over that of the target (NRMSE)."""
    square = _mean((prediction - target) ** 2, mask)
    return jnp.mean(jnp.sqrt(square + 1e-20) / _scale(target, mask))


def denoising(prediction: Volume, target: Volume, mask: Mask, precision: Volume) -> Float[Array, ""]:
    """Compute the mean square error relative to that of the best linear shrinkage.

    Its least is at the expected value of the target. ``precision`` is one over the noise, 1/ppm.

    Source: Karras, Aittala, Aila & Laine 2022, NeurIPS, arXiv:2206.00364.
    """
    return jnp.mean(_mean((prediction - target) ** 2 * (precision**2 + 1 / TYPICAL_CHI**2), mask))


def gradient(prediction: Volume, target: Volume, mask: Mask) -> Float[Array, ""]:
    """Compute the mean absolute error of differences between neighbours within the mask.

    Source: Yoon et al. 2018, NeuroImage 179:199, doi:10.1016/j.neuroimage.2018.06.030 (QSMnet).
    """
    error = prediction - target
    total = jnp.zeros(len(error))
    for axis in (1, 2, 3):
        difference, both = _neighbours(error, mask, axis)
        total = total + _mean(jnp.abs(difference), both) / 3
    return jnp.mean(total / _scale(target, mask))


def edge(prediction: Volume, target: Volume, mask: Mask) -> Float[Array, ""]:
    """Compute :func:`gradient` weighted by the target's own differences.

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
    """Compute the mean absolute difference between neighbours, relative to the prediction's size."""
    total = jnp.zeros(len(prediction))
    for axis in (1, 2, 3):
        difference, both = _neighbours(prediction, mask, axis)
        total = total + _mean(jnp.abs(difference), both) / 3
    return jnp.mean(total / _scale(prediction, mask))


def model(
    prediction: Volume, field: Volume, mask: Mask, geometry: Geometry, weights: Volume | None = None
) -> Float[Array, ""]:
    """Compute the weighted mean absolute misfit of Dχ to the local field, relative to the field.

    Needs no truth: with :func:`total_variation` it is the loss of unsupervised training (uQSM).

    Sources: Yoon et al. 2018 (as above); Liu & Koch 2020, arXiv:2004.12573 (uQSM).
    """
    data = jax.vmap(measurement)(field, mask, geometry, weights)
    predicted = jax.vmap(lambda d, chi: d.predict(chi))(data, prediction)
    misfit = data.weights * jnp.abs(predicted - data.field)
    return jnp.mean(_mean(misfit, mask) / _scale(data.weights * data.field, mask))


def likelihood(posterior: VoxelwiseNormal, target: Volume, mask: Mask) -> Float[Array, ""]:
    """Compute the mean negative log-likelihood of the truth, minus a constant.

    Source: Zhang et al. 2021, MELBA 1:3, arXiv:2009.04251 (PDI).
    """
    scale = _scale(target, mask)[:, None, None, None]
    variance, error = posterior.variance / scale**2, (posterior.mean - target) / scale
    return jnp.mean(_mean(0.5 * error**2 / variance + 0.5 * jnp.log(variance), mask))


def divergence(
    posterior: VoxelwiseNormal, field: Volume, mask: Mask, geometry: Geometry, weights: Volume | None = None
) -> Float[Array, ""]:
    """Compute the Kullback-Leibler divergence to the physics posterior of χ, minus a constant.

    The field is that of χ with noise of :data:`NOISE` of its own size, and χ has a prior of least total
    variation with weight :data:`PRIOR`. The expectation of the misfit over a normal χ is closed-form:
    the misfit of the mean, and the variance through the squared dipole.

    Source: Zhang et al. 2021, MELBA 1:3, arXiv:2009.04251 (PDI).
    """

    def one(
        mean: Array, variance: Array, field: Array, mask: Array, geometry: Geometry, weights: Array | None
    ) -> Array:
        data = measurement(field, mask, geometry, weights)
        scale = jnp.sqrt(jnp.sum((data.weights * data.field) ** 2) / jnp.maximum(mask.sum(), 1))
        x, y, h = data.kernel.shape
        squared = irfftn(data.kernel, (x, y, 2 * (h - 1))) ** 2
        spread = data.filter(variance * mask, rfftn(squared).real)
        misfit = (data.weights * (data.predict(mean) - data.field)) ** 2 + data.weights**2 * spread
        entropy = 0.5 * jnp.log(variance / scale**2)
        return jnp.sum(mask * (0.5 * misfit / (NOISE * scale) ** 2 - entropy)) / jnp.maximum(mask.sum(), 1)

    each = jax.vmap(one)(posterior.mean, posterior.variance, field, mask, geometry, weights)
    return jnp.mean(each) + PRIOR * total_variation(posterior.mean, mask)


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
