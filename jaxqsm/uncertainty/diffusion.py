"""Maps of χ drawn from the posterior whose prior is a denoiser, by diffusion."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.networks import proximal_step
from jaxqsm.pretrained import trained_network
from jaxqsm.pretrained.denoiser_prior import Denoising, beside_denoiser
from jaxqsm.uncertainty.gibbs import PosteriorSamples
from jaxqsm.variational.common import confidence, referenced

STRONGEST, WEAKEST = 0.5, 0.002
"""ppm of χ: noise at which sampling begins, ten times χ itself, and ends; those that the denoiser knows."""

SOLVER_ITERATIONS = 12
"""Conjugate-gradient iterations a level, preconditioned in k-space."""


def diffusion(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    key: PRNGKeyArray,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    noise: float | None = None,
    samples: int = 8,
    levels: int = 30,
    checkpoint: str = "denoiser",
) -> PosteriorSamples:
    """Sample maps that agree with the field and that the denoiser knows as χ, from noise to ever less noise.

    Use it for posterior samples with a learned prior.

    At each level the denoiser gives the expected χ of a noisy map. About it χ is taken to be normal, as wide
    as shrinkage would leave it; with the field that is again a normal distribution, of which one χ is
    drawn exactly, by perturbing field and expectation and solving for χ. Less noise than before is added
    to it, and so on. What the field determines all samples share; along the magic-angle cone, and where
    there is noise, they differ as maps of χ do.

    Args:
        local_field: ppm, shape ``(x, y, z)``.
        mask: where it is valid.
        geometry: voxel size and field direction.
        key: random key.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        noise: of the field where its weight is 1, ppm. Default: by
            :func:`jaxqsm.physics.field_noise`.
        samples: drawn one after another. Default 8.
        levels: of noise, evenly in its logarithm. Default 30; a pass of the network and about
            80 real FFTs each.
        checkpoint: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote for the task ``denoising``. Default ``"denoiser"``.

    Returns:
        Mean, standard deviation, noise and samples.

    Raises:
        ValueError: there are no such weights, or they are of another task.

    References:
        Zhang et al. 2024, arXiv:2407.01521 (decoupled annealing); Orieux, Féron & Giovannelli 2012, IEEE SPL
        19:251, doi:10.1109/LSP.2012.2189104 (perturb and maximise).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> field = 0.01 * jax.random.normal(jax.random.key(1), mask.shape)
        >>> diffusion(field, mask, Geometry(), key=jax.random.key(0), samples=2,
        ...     levels=2).standard_deviation.shape
        (16, 16, 16)
    """
    graph, state = trained_network(checkpoint, "denoising")
    scan = jnp.asarray(local_field), jnp.asarray(mask), geometry, confidence(weights, magnitude)
    return _sampled(graph, state, scan, key, noise, samples, levels)


@partial(jax.jit, static_argnums=(0, 5, 6))
def _sampled(
    graph: Any,
    state: nnx.State,
    scan: tuple[Any, ...],
    key: PRNGKeyArray,
    noise: float | None,
    samples: int,
    levels: int,
) -> PosteriorSamples:
    local_field, mask, geometry, weights = scan
    given = beside_denoiser(local_field, mask, geometry, weights)
    if noise is not None:
        given = given._replace(noise=noise / given.scale)
    one = jax.tree.map(lambda leaf: leaf[None], (mask, geometry))
    ladder = jnp.geomspace(STRONGEST, WEAKEST, levels)
    following = jnp.append(ladder[1:], 0.0)

    def descend(noisy: Array, now: tuple[Array, Array, PRNGKeyArray]) -> tuple[Array, None]:
        level, below, key = now
        of_chi, of_noise = jax.random.split(key)
        network = nnx.merge(graph, state)
        expected = network.denoise(noisy[None], *one, level[None])[0]
        width = level * network.config.chi_std / jnp.hypot(level, network.config.chi_std)
        chi = referenced(_drawn(of_chi, expected, width, given), mask)
        return (chi + below * jax.random.normal(of_noise, chi.shape)) * mask, None

    def draw(key: PRNGKeyArray) -> Array:
        first, rest = jax.random.split(key)
        noisy = STRONGEST * jax.random.normal(first, mask.shape) * mask
        chi, _ = jax.lax.scan(descend, noisy, (ladder, following, jax.random.split(rest, levels)))
        return given.scale * chi

    drawn = jax.lax.map(draw, jax.random.split(key, samples))
    return PosteriorSamples(drawn.mean(0), drawn.std(0, ddof=1), given.scale * given.noise, drawn)


def _drawn(key: PRNGKeyArray, expected: Array, width: Array, given: Denoising) -> Array:
    """Sample of the normal distribution about ``expected``, given the field."""
    of_field, of_chi = jax.random.split(key)
    data = given.data
    known = data.weights > 0
    error = given.noise * jax.random.normal(of_field, expected.shape) / jnp.where(known, data.weights, 1)
    data = data._replace(field=data.field + jnp.where(known, error, 0))
    near = expected + width * jax.random.normal(of_chi, expected.shape)
    return proximal_step(near, data, (given.noise / width) ** 2, max_iterations=SOLVER_ITERATIONS)
