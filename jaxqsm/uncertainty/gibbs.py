"""Maps of χ drawn from the posterior of total variation itself."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.inversion.tv import tv
from jaxqsm.operators import gradient, pad, squared_length
from jaxqsm.uncertainty.perturbation import FIRST_WEIGHT, draw, shown_noise
from jaxqsm.variational.common import confidence
from jaxqsm.variational.problem import InversionProblem, inversion_problem


class PosteriorSamples(NamedTuple):
    """Posterior samples of χ, with their mean and standard deviation.

    Attributes:
        mean: of the samples, ppm: the estimate of least mean squared error.
        standard_deviation: of the samples, ppm, zero outside the mask.
        noise: of the field where its weight is 1, ppm.
        samples: χ, ``(sample, x, y, z)``, ppm, zero mean in the mask.
    """

    mean: Float[Array, "x y z"]
    standard_deviation: Float[Array, "x y z"]
    noise: Float[Array, ""]
    samples: Float[Array, "sample x y z"]


@partial(jax.jit, static_argnames=("samples", "burn_in", "max_iterations"))
def gibbs(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    key: PRNGKeyArray,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    weight: float | None = None,
    noise: float | None = None,
    samples: int = 100,
    burn_in: int = 50,
    max_iterations: int = 30,
) -> PosteriorSamples:
    """Sample exp(−|W (Dχ − field)|² / 2σ² − weight / σ² Σ |∇χ|) by Gibbs sampling.

    Use it on small volumes, to check faster methods.

    exp(−r |g|) is a mixture of normal distributions of g, so that in turn χ is drawn given the variances of
    its gradients, which is a normal distribution (perturb and maximise), and the variances given χ, each of
    which is inverse Gaussian. No step is rejected, and none has a size that must be chosen. Unlike
    :func:`~jaxqsm.uncertainty.laplace` it approximates nothing but the solution of linear equations; it takes
    some ten times as long, so it is for small volumes, and for checking others.

    The inverse scale weight / σ² belongs to χ and not to the noise, and is sampled as well unless a weight is
    given. Intervals are somewhat too narrow at low noise: χ has more small and more large gradients than this
    prior.

    Args:
        local_field: ppm, shape ``(x, y, z)``.
        mask: where it is valid.
        geometry: voxel size and field direction.
        key: random key.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        weight: of total variation, ppm · mm. Default: its rate is drawn, by a prior flat in its logarithm.
        noise: σ, ppm. Default: by :func:`jaxqsm.physics.field_noise`.
        samples: number after burn-in, all in memory. Default 100.
        burn_in: that are not. Default 50.
        max_iterations: of conjugate gradients a sample, starting from the last. Default 30.

    Returns:
        Mean, standard deviation, noise and samples. Four real FFTs an iteration.

    References:
        Park & Casella 2008, JASA 103:681, doi:10.1198/016214508000000337 (mixture); Kyung, Gill, Ghosh &
        Casella 2010, Bayesian Anal 5:369, doi:10.1214/10-BA607 (groups, as the parts of a gradient are).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> field = 0.01 * jax.random.normal(jax.random.key(1), mask.shape)
        >>> gibbs(field, mask, Geometry(), key=jax.random.key(0), samples=2, burn_in=1,
        ...     max_iterations=2).standard_deviation.shape
        (16, 16, 16)
    """
    given = inversion_problem(local_field, mask, geometry, weights, magnitude)
    first_weight = FIRST_WEIGHT if weight is None else weight
    best = pad(
        tv(local_field, mask, geometry, magnitude=magnitude, weights=weights, weight=first_weight),
        given.shape,
    )
    level = (
        shown_noise(local_field, mask, confidence(weights, magnitude))
        if noise is None
        else jnp.asarray(noise, best.dtype)
    )
    first = best, jnp.asarray(first_weight, best.dtype) / level**2

    def step(state: tuple[Array, Array], key: PRNGKeyArray) -> tuple[tuple[Array, Array], Array]:
        of_chi, of_rate = jax.random.split(key)
        chi, rate = state
        chi = draw_next(chi, of_chi, given, level, rate, max_iterations)
        return (chi, rate if weight is not None else draw_rate(of_rate, chi, geometry)), chi

    state, _ = jax.lax.scan(lambda s, k: (step(s, k)[0], None), first, jax.random.split(key, burn_in))
    _, drawn = jax.lax.scan(step, state, jax.random.split(jax.random.fold_in(key, 1), samples))
    drawn = jax.vmap(given.to_scan_grid)(drawn)
    return PosteriorSamples(drawn.mean(0), drawn.std(0, ddof=1) * mask, level, drawn)


def draw_rate(key: PRNGKeyArray, chi: Float[Array, "X Y Z"], geometry: Geometry) -> Float[Array, ""]:
    """Sample the inverse scale of the prior exp(−rate Σ |∇χ|) given χ, mm / ppm.

    The prior's integral over N voxels goes with rate^−N, so the rate has a gamma distribution.
    """
    total = jnp.sum(jnp.sqrt(squared_length(gradient(chi, geometry))))
    unknowns = chi.size - 1.0  # a constant has no gradient
    return jax.random.gamma(key, unknowns, dtype=chi.dtype) / total


def draw_next(
    chi: Float[Array, "X Y Z"],
    key: PRNGKeyArray,
    given: InversionProblem,
    noise: ArrayLike,
    rate: ArrayLike,
    max_iterations: int,
) -> Float[Array, "X Y Z"]:
    """Sample the next state of the chain: variances of the gradients given χ, then χ given them.

    Args:
        chi: the last sample, ppm, on the padded grid.
        key: random key.
        given: the problem.
        noise: ppm, of the field where its weight is 1.
        rate: mm / ppm, of the prior exp(−rate Σ |∇χ|).
        max_iterations: of conjugate gradients.
    """
    of_variances, of_chi = jax.random.split(key)
    rate = jnp.asarray(rate, chi.dtype)
    steepness = jnp.sqrt(squared_length(gradient(chi, given.geometry)))
    stiffness = inverse_gaussian(of_variances, rate / jnp.maximum(steepness, 1e-6 / rate), rate**2)
    field = given.known_field
    (new,) = draw(
        of_chi, given, noise, stiffness, field=field, start=chi, samples=1, max_iterations=max_iterations
    )
    return new


def inverse_gaussian(
    key: PRNGKeyArray, mean: Float[Array, "*shape"], shape: Float[Array, ""]
) -> Float[Array, "*shape"]:
    """Sample inverse Gaussian distributions.

    Args:
        key: random key.
        mean: positive, any shape.
        shape: the distribution's second parameter: its variance is mean³ / shape.

    References:
        Michael, Schucany & Haas 1976, Am Stat 30:88, doi:10.1080/00031305.1976.10479147.
    """
    of_size, of_side = jax.random.split(key)
    t = mean * jax.random.normal(of_size, mean.shape, mean.dtype) ** 2 / (2 * shape)
    # The smaller root of a quadratic, without the difference of what is nearly equal.
    small = mean / (1 + t + jnp.sqrt(t * (2 + t)))
    kept = jax.random.uniform(of_side, mean.shape, mean.dtype) * (mean + small) <= mean
    return jnp.where(kept, small, mean**2 / small)
