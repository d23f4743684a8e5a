"""A scan beside a denoiser of χ: the alternation that plug-and-play and RED share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.inversion import tv
from jaxqsm.networks.blocks.data_consistency import TYPICAL_FIELD, Measurement, at_unit_size, proximal_step
from jaxqsm.physics import field_noise
from jaxqsm.pretrained.trained import trained_network
from jaxqsm.variational.common import referenced

LEAST_NOISE = 1e-3
"""ppm at :data:`TYPICAL_FIELD`, if the field shows less: the model is not truer than that."""

START_WEIGHT = 3e-4
"""Weight of total variation at :data:`TYPICAL_FIELD`, ppm · mm."""

SOLVER_ITERATIONS = 20
"""Conjugate-gradient iterations a step, preconditioned in k-space, from the last χ."""


class Denoising(NamedTuple):
    """A scan beside a denoiser, at :data:`TYPICAL_FIELD`.

    Attributes:
        data: the field and its weights.
        start: χ by :func:`jaxqsm.inversion.tv`, ppm.
        noise: of the field where its weight is 1, ppm, by :func:`jaxqsm.physics.field_noise`.
        scale: that brings χ back.
    """

    data: Measurement
    start: Float[Array, "x y z"]
    noise: Float[Array, ""]
    scale: Float[Array, ""]


def beside_denoiser(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    weights: Float[Array, "x y z"] | None,
) -> Denoising:
    """Scale the scan to the denoiser, compute a first χ, and estimate the noise of the field."""
    data, size = at_unit_size(local_field, mask, geometry, weights)
    data = data._replace(field=TYPICAL_FIELD * data.field)
    start = tv(data.field, mask, geometry, weights=weights, weight=START_WEIGHT)
    noise = field_noise(data.field, data.weights, mask)
    return Denoising(data, start, jnp.maximum(noise, LEAST_NOISE), size / TYPICAL_FIELD)


Denoiser = Callable[[Float[Array, "x y z"], Float[Array, ""]], Float[Array, "x y z"]]
"""A denoiser of χ in ppm, of mean zero in the mask, with noise of a given standard deviation in ppm."""


def prior_of(
    checkpoint: str, denoiser: Denoiser | None, mask: Bool[Array, "x y z"], geometry: Geometry
) -> Callable[..., Any]:
    """Make a traceable denoiser: one's own, or the network of a checkpoint.

    Raises:
        ValueError: there are no such weights, or they are of another task.
    """
    if denoiser is not None:
        return jax.tree_util.Partial(denoiser)
    graph, state = trained_network(checkpoint, "denoising")
    return jax.tree_util.Partial(_denoised, graph, state, mask, geometry)


def _denoised(
    graph: Any, state: nnx.State, mask: Array, geometry: Geometry, chi: Array, level: Array
) -> Array:
    scan = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (chi, mask, geometry, level))
    return nnx.merge(graph, state).denoise(*scan)[0]


@jax.jit
def alternate(denoise: Callable[..., Any], scan: tuple[Any, ...], levels: Array, pulls: Array) -> Array:
    """Alternate between denoising at falling levels and conjugate gradients towards the field."""
    local_field, mask, geometry, weights = scan
    given = beside_denoiser(local_field, mask, geometry, weights)

    @jax.checkpoint
    def step(chi: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        level, pull = now
        denoised = denoise(referenced(chi, mask), level) * mask
        strength = pull * given.noise**2
        # χ agrees with the field already, the denoised one less so.
        solve = partial(proximal_step, max_iterations=SOLVER_ITERATIONS, start=chi)
        return solve(denoised, given.data, strength), None

    chi, _ = jax.lax.scan(step, given.start, (levels, pulls))
    return given.scale * referenced(chi, mask)
