"""Approximate message passing with parameter estimation: an inversion that finds its own weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.operators import haar, haar_inverse, irfftn, pad, rfftn
from jaxqsm.physics import dipole_convolve
from jaxqsm.solvers import douglas_rachford, shrink, splitting_step
from jaxqsm.variational.common import padded_shape
from jaxqsm.variational.data_terms import of_phase
from jaxqsm.variational.problem import InversionProblem, Volume, inversion_problem

IMAGE_RHO = 25.0
"""ADMM penalty parameter ρ of the split wavelets, relative to the finest level's weight."""

MEAN_SQUARE_DIPOLE = 4 / 45
"""Mean of (1/3 − cos²)² over the sphere."""

FIRST_NOISE, FIRST_RATE = 1e-3, 300.0
"""ppm, and 1 / ppm: to begin with."""

FIRST_EXCESS, FIRST_PART = 100.0, 0.01
"""Initial variance of outliers over that of noise, and their part of the voxels."""

LEAST_EXCESS = 9.0
"""Times the variance of the noise: outliers vary at least so much."""

MOST_KNOWN = 0.8
"""Coefficients that are not zero, over voxels that are measured, at most: beyond it no noise is left."""

SMALLEST = 1e-7
"""ppm. Wavelets below are zero, but for rounding."""

DEEPEST = 30.0
"""Standard deviations into the tail of a normal distribution, beyond which there is no part to speak of."""


class Parameters(NamedTuple):
    """Parameters that are estimated along with χ.

    Attributes:
        rates: of the Laplace distribution of the wavelets of each level, the finest first, 1 / ppm.
        variance: of the field's noise where its weight is 1, ppm².
        outlying: variance of outliers there, ppm².
        part: of the voxels that are outliers.
    """

    rates: Float[Array, " level"]
    variance: Float[Array, ""]
    outlying: Float[Array, ""]
    part: Float[Array, ""]


@partial(jax.jit, static_argnames=("levels", "outer_iterations", "start_iterations", "max_iterations"))
def amp_pe(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    acquisition: Acquisition | None = None,
    start: Float[Array, "x y z"] | None = None,
    levels: int = 4,
    outer_iterations: int = 20,
    start_iterations: int = 8,
    tolerance: float = 1e-2,
    max_iterations: int = 100,
) -> Float[Array, "x y z"]:
    """Estimate χ, the scales of its wavelets and the noise with outliers jointly (AMP-PE).

    Use it where no weight can be chosen; it takes longer.

    The published method passes messages whose variances are those of a random matrix, scalars, and estimates
    the wavelets' rate and a mixture of two normal distributions of noise from them in every iteration. Here χ
    is found by splitting, which converges for the dipole as well; the scalars and the estimates are those of
    messages at that χ. So there is no weight to choose. Ours are an inverse scale for each level, and Haar's
    wavelets. No voxel is an outlier before the parameters have settled: from the start, the strongest sources
    would be among them.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        acquisition: echo times and field strength; the data term is then that of the phase, s being the
            acquisition's ``phase_scale``. Default: that of the field, the limit s → 0.
        start: χ in ppm to begin from. Default: none.
        levels: of wavelets; default 4.
        outer_iterations: of estimates of the parameters before there are outliers, and half as many with
            them. Default 20.
        start_iterations: of χ between estimates. Default 8.
        tolerance: relative change at which χ is final, with the last parameters. Default 1e-2.
        max_iterations: bound on those last iterations. Default 100.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Four real FFTs an iteration. Gradients are those
        with the parameters held.

    References:
        Huang, Lah, Allen & Qiu 2023, MRM 90:1414, doi:10.1002/mrm.29722.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = amp_pe(jnp.zeros(mask.shape), mask, Geometry(), levels=2, outer_iterations=2,
        ...     max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    unit = 2**levels
    x, y, z = (-(-n // unit) * unit for n in padded_shape(mask.shape))
    given = inversion_problem(local_field, mask, geometry, weights, magnitude, shape=(x, y, z))
    held = jax.lax.stop_gradient(given)

    def once(state: State, _: None, *, outliers: bool) -> tuple[State, None]:
        pair, known, belief = state
        proximal, nearest = _splitting(held, known, belief, acquisition)
        step = splitting_step(proximal, nearest)
        pair = jax.lax.fori_loop(0, start_iterations, lambda _, pair: step(pair), pair)
        return (pair, *_estimated(held, known, belief, proximal(pair)[0], outliers=outliers)), None

    first = Parameters(
        rates=jnp.full(levels, FIRST_RATE),
        variance=jnp.array(FIRST_NOISE**2),
        outlying=jnp.array(FIRST_EXCESS * FIRST_NOISE**2),
        part=jnp.array(FIRST_PART),
    )
    image = jnp.zeros(given.shape, given.field.dtype) if start is None else pad(start, given.shape)
    begun = image, given.split(start)[1]
    state = begun, first, jnp.ones_like(held.weights)
    for outliers, length in ((False, outer_iterations), (True, outer_iterations // 2)):
        state, _ = jax.lax.scan(partial(once, outliers=outliers), state, None, length=length)
    pair, known, belief = state
    proximal, nearest = _splitting(given, known, belief, acquisition)
    chi = douglas_rachford(proximal, nearest, pair, tolerance=tolerance, max_iterations=max_iterations)
    return given.to_scan_grid(chi)


Pair = tuple[Volume, Volume]
"""χ by its wavelets, and its field."""

State = tuple[Pair, Parameters, Volume]
"""Split variables, parameters so far, and the probability that each voxel is no outlier."""


def _splitting(
    given: InversionProblem, known: Parameters, belief: Volume, acquisition: Acquisition | None
) -> tuple[Callable[[Pair], Pair], Callable[[Pair], tuple[Volume, Pair]]]:
    """Least ½ Σ W² probability misfit² + Σ rate variance |wavelet|, for :func:`douglas_rachford`."""
    data_term = of_phase(given.field, given.weights * belief, acquisition)
    thresholds = known.rates * known.variance
    rho = IMAGE_RHO * thresholds[0]

    def proximal(pair: Pair) -> Pair:
        means, details = haar(pair[0], len(thresholds))
        kept = [shrink((d,), t / rho)[0] for d, t in zip(details, thresholds, strict=True)]
        return haar_inverse(means, kept), data_term(pair[1])

    def nearest(pair: Pair) -> tuple[Volume, Pair]:
        pull = rho * rfftn(pair[0]) + given.kernel * rfftn(pair[1])
        spectrum = pull / (rho + given.kernel**2)
        chi = irfftn(spectrum, given.shape)
        return chi, (chi, irfftn(spectrum * given.kernel, given.shape))

    return proximal, nearest


def _estimated(
    given: InversionProblem, known: Parameters, belief: Volume, chi: Volume, *, outliers: bool
) -> tuple[Parameters, Volume]:
    """Likelier parameters, and the probability of no outlier, where χ is the estimate so far."""
    measured = given.weights > 0
    part = jnp.mean(measured.astype(chi.dtype))
    used = sum(jnp.sum(jnp.abs(d) > SMALLEST) for d in haar(chi, len(known.rates))[1]) / chi.size
    used = jnp.minimum(used, MOST_KNOWN * part)
    misfit = (given.field - dipole_convolve(chi, given.kernel, given.shape)) * measured

    squares = given.weights * misfit**2
    ordinary = _log_normal(squares, known.variance) + jnp.log1p(-known.part)
    outlier = jax.nn.sigmoid(_log_normal(squares, known.outlying) + jnp.log(known.part) - ordinary)
    outlier = outlier * measured if outliers else jnp.zeros_like(chi)
    inlier = measured - outlier
    # Coefficients in use have taken their share of the noise.
    variance = jnp.sum(inlier * squares) / jnp.sum(inlier) * part / (part - used)
    if outliers:
        outlying = jnp.sum(outlier * squares) / jnp.maximum(jnp.sum(outlier), 1e-6)
        outlying = jnp.maximum(outlying, LEAST_EXCESS * variance)
        among = jnp.clip(jnp.sum(outlier) / jnp.sum(measured), 1e-4, 0.5)
    else:
        outlying, among = FIRST_EXCESS * variance, known.part

    scatter = variance / (MEAN_SQUARE_DIPOLE * (part - used))
    pull = dipole_convolve(given.weights * belief * misfit, given.kernel, given.shape)
    message = chi + scatter / variance * pull
    sizes = [
        jnp.mean(_mean_size(d, jnp.sqrt(scatter), rate))
        for d, rate in zip(haar(message, len(known.rates))[1], known.rates, strict=True)
    ]
    return Parameters(1 / jnp.stack(sizes), variance, outlying, among), inlier + outlier * variance / outlying


def _mean_size(
    observed: Float[Array, ...], standard_deviation: Float[Array, ""], rate: Float[Array, ""]
) -> Float[Array, ...]:
    """Mean of |v| given v + normal noise, where v has a Laplace distribution of that rate."""

    def branch(towards: Array) -> tuple[Array, Array]:
        """Logarithm of the part of the posterior with v of that sign, and the mean of |v| in it."""
        middle = towards / standard_deviation - rate * standard_deviation
        shown = jnp.maximum(middle, -DEEPEST)
        density = jnp.exp(-0.5 * shown**2 - 0.5 * jnp.log(2 * jnp.pi) - log_ndtr(shown))
        return log_ndtr(middle) - rate * towards, (shown + density) * standard_deviation

    (log_up, up), (log_down, down) = branch(observed), branch(-observed)
    positive = jax.nn.sigmoid(log_up - log_down)
    return positive * up + (1 - positive) * down


def _log_normal(squares: Array, variance: Array) -> Array:
    return -0.5 * squares / variance - 0.5 * jnp.log(variance)
