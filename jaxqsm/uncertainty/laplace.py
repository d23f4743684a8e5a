"""Laplace approximation of the posterior of total variation."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.operators import gradient, pad, squared_length, weighted_mean
from jaxqsm.uncertainty.perturbation import FIRST_WEIGHT, draw, shown_noise
from jaxqsm.variational.common import confidence
from jaxqsm.variational.problem import inversion_problem

NEIGHBOURHOOD = 2.0
"""mm. Variances of the samples are averaged over balls of this radius: a few samples then suffice."""

ROUNDS = 3
"""Rounds of samples before the last ones, which estimate the variance of gradients."""


class LaplaceApproximation(NamedTuple):
    """Standard deviation, noise and samples of a normal approximation of the posterior.

    Attributes:
        standard_deviation: standard deviation of χ about its estimate, ppm, zero outside the mask.
        noise: standard deviation of the field where its weight is 1, ppm, by
            :func:`jaxqsm.physics.field_noise`.
        samples: standard deviations of χ from its estimate, ``(sample, x, y, z)``, ppm.
    """

    standard_deviation: Float[Array, "x y z"]
    noise: Float[Array, ""]
    samples: Float[Array, "sample x y z"]


@partial(jax.jit, static_argnames=("samples", "max_iterations"))
def laplace(
    chi: Float[Array, "x y z"],
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    key: PRNGKeyArray,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    weight: float | None = None,
    samples: int = 8,
    max_iterations: int = 40,
) -> LaplaceApproximation:
    """Approximate the posterior of total variation by a normal distribution about an estimate of χ.

    Use it for tv-like maps where noise dominates.

    Its inverse covariance is DᵀW²D / σ² + ∇ᵀ diag(w) ∇: what the field tells, with the noise σ that the
    field shows, and what the prior exp(−rate Σ |∇χ|) says of gradients: w = rate / √(|∇χ|² + variance of
    ∇χ), the variational bound that is tight at the posterior itself. The variance is found from samples, in
    three rounds, and with it the likeliest rate: the number of voxels over Σ √(|∇χ|² + variance). So in flat
    regions, and for directions that the field determines, little spread is left; along the magic-angle cone
    and at edges much.

    It does not include the bias of the estimate: where total variation has taken contrast away, the truth is
    farther off than this says; the less noise, the more of the error is
    bias. :func:`jaxqsm.pretrained.learned_standard_deviation` includes bias.

    Samples are drawn by perturbing data and prior and solving for χ (perturb and maximise), so that no
    covariance is stored. The mean of every sample over the mask is taken off, as χ is relative.

    Args:
        chi: an estimate of any method, ppm, shape ``(x, y, z)``.
        local_field: ppm.
        mask: where both are valid.
        geometry: voxel size and field direction.
        key: random key.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        weight: of total variation, ppm · mm: rate times σ². Default: the rate is found.
        samples: maps drawn in the last round. Default 8, averaged over 2 mm.
        max_iterations: of conjugate gradients a sample, preconditioned in k-space. Default 40.

    Returns:
        The standard deviation, the noise, and the samples. Four real FFTs an iteration.

    References:
        Babacan, Molina & Katsaggelos 2009, IEEE TIP 18:12, doi:10.1109/TIP.2008.2007354 (variational total
        variation); Orieux, Féron & Giovannelli 2012, IEEE SPL 19:251, doi:10.1109/LSP.2012.2189104
        (perturb and maximise).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> field = 0.01 * jax.random.normal(jax.random.key(1), mask.shape)
        >>> laplace(0 * field, field, mask, Geometry(), key=jax.random.key(0), samples=2,
        ...     max_iterations=2).standard_deviation.shape
        (16, 16, 16)
    """
    given = inversion_problem(local_field, mask, geometry, weights, magnitude)
    best = pad(chi * mask, given.shape)
    noise = shown_noise(local_field, mask, confidence(weights, magnitude))
    rate = (FIRST_WEIGHT if weight is None else weight) / noise**2
    inside = pad(mask, given.shape).astype(best.dtype)
    square = squared_length(gradient(best, geometry))
    spread = jnp.full(given.shape, 1 / rate**2)
    keys = jax.random.split(key, ROUNDS + 1)
    for number in range(ROUNDS):
        stiffness = rate / jnp.sqrt(square + spread)
        drawn = draw(keys[number], given, noise, stiffness, samples=4, max_iterations=max_iterations)
        found = jnp.mean(jax.vmap(lambda chi: squared_length(gradient(chi, geometry)))(drawn), axis=0)
        spread = weighted_mean(found, inside, NEIGHBOURHOOD, geometry, otherwise=found)
        if weight is None:
            rate = (best.size - 1) / jnp.sum(jnp.sqrt(square + found))
    stiffness = rate / jnp.sqrt(square + spread)
    drawn = draw(keys[ROUNDS], given, noise, stiffness, samples=samples, max_iterations=max_iterations)
    drawn = jax.vmap(given.to_scan_grid)(drawn)
    variance = (drawn**2).mean(0)
    variance = weighted_mean(variance, mask.astype(drawn.dtype), NEIGHBOURHOOD, geometry, otherwise=variance)
    return LaplaceApproximation(jnp.sqrt(jnp.maximum(variance, 0)) * mask, noise, drawn)
