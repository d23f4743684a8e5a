"""Samples of χ from a normal distribution that physics and a weighted gradient penalty make."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from jaxqsm.operators import divergence, gradient, irfftn, laplacian_symbol, pad, rfftn
from jaxqsm.physics import dipole_convolve, field_noise
from jaxqsm.solvers import conjugate_gradient
from jaxqsm.variational.common import data_weights
from jaxqsm.variational.problem import InversionProblem

FIRST_WEIGHT = 3e-4
"""ppm · mm, that of :func:`jaxqsm.inversion.tv`: what a search for the rate of the prior begins with."""

LEAST_NOISE = 1e-6
"""ppm, of a field that shows none."""

LEAST_WEIGHT = 0.05
"""Least weight of a voxel's field, where noise is taken to be largest."""


def draw(
    key: PRNGKeyArray,
    given: InversionProblem,
    noise: ArrayLike,
    stiffness: Float[Array, "X Y Z"],
    *,
    field: Float[Array, "X Y Z"] | float = 0.0,
    start: Float[Array, "X Y Z"] | float = 0.0,
    samples: int,
    max_iterations: int,
) -> Float[Array, "sample X Y Z"]:
    """Sample with the inverse covariance DᵀW²D / noise² + ∇ᵀ stiffness ∇, on the padded grid.

    Data and prior are perturbed, and the χ that fits them best is a sample (perturb and maximise): no
    covariance is stored.

    Args:
        key: random key.
        given: the problem; its field is not used.
        noise: ppm, standard deviation of the field where its weight is 1.
        stiffness: mm² / ppm², inverse variance of every voxel's gradient.
        field: ppm, whose χ is the mean of the samples. Default 0: standard deviations from the mean.
        start: ppm, where the solver begins.
        samples: how many, one after another.
        max_iterations: of conjugate gradients a sample, preconditioned in k-space.

    References:
        Orieux, Féron & Giovannelli 2012, IEEE SPL 19:251, doi:10.1109/LSP.2012.2189104.
    """
    geometry, shape = given.geometry, given.shape
    confidence = given.weights / noise**2
    inside = pad(given.mask, shape)
    typical = jnp.sum(confidence) / jnp.maximum(inside.sum(), 1)
    stiff = jnp.sum(stiffness * inside) / jnp.maximum(inside.sum(), 1)
    divisor = typical * given.kernel**2 + stiff * laplacian_symbol(shape, geometry)
    divisor = jnp.where(divisor > 0, divisor, jnp.inf)

    def precision(image: Array) -> Array:
        predicted = dipole_convolve(image, given.kernel, shape)
        data = dipole_convolve(confidence * predicted, given.kernel, shape)
        x, y, z = (stiffness * g for g in gradient(image, geometry))
        return data - divergence((x, y, z), geometry)

    def near_inverse(image: Array) -> Array:
        return irfftn(rfftn(image) / divisor, shape)

    def one(key: PRNGKeyArray) -> Array:
        of_data, *of_prior = (jax.random.normal(k, shape) for k in jax.random.split(key, 4))
        x, y, z = (jnp.sqrt(stiffness) * n for n in of_prior)
        measured = confidence * field + jnp.sqrt(confidence) * of_data
        right = dipole_convolve(measured, given.kernel, shape) - divergence((x, y, z), geometry)
        first = jnp.broadcast_to(jnp.asarray(start), shape)
        right = right - right.mean() - precision(first)
        solve = conjugate_gradient(
            precision, right, max_iterations=max_iterations, preconditioner=near_inverse
        )
        return first + solve

    return jax.lax.map(one, jax.random.split(key, samples))


def shown_noise(
    local_field: Float[Array, "x y z"], mask: Bool[Array, "x y z"], weights: Float[Array, "x y z"] | None
) -> Float[Array, ""]:
    """Estimate the noise of a local field where its weight is 1, ppm, from the field; never 0."""
    return jnp.maximum(field_noise(local_field * mask, data_weights(mask, weights), mask), LEAST_NOISE)


def noise_of_voxels(
    local_field: Float[Array, "x y z"], mask: Bool[Array, "x y z"], weights: Float[Array, "x y z"] | None
) -> Float[Array, "x y z"]:
    """Estimate the noise of a local field in each voxel, ppm, zero outside."""
    confidence = jnp.maximum(data_weights(mask, weights), LEAST_WEIGHT)
    return shown_noise(local_field, mask, weights) / confidence * mask
