"""A scan beside a denoiser of χ: the alternation that plug-and-play and RED share."""

from __future__ import annotations

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


@partial(jax.jit, static_argnums=0)
def alternate(graph: Any, state: nnx.State, scan: tuple[Any, ...], levels: Array, pulls: Array) -> Array:
    """Alternate between denoising at falling levels and conjugate gradients towards the field."""
    local_field, mask, geometry, weights = scan
    given = beside_denoiser(local_field, mask, geometry, weights)
    one = jax.tree.map(lambda leaf: leaf[None], (mask, geometry))

    @jax.checkpoint
    def step(chi: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        level, pull = now
        denoised = nnx.merge(graph, state).denoise(referenced(chi, mask)[None], *one, level[None])[0]
        strength = pull * given.noise**2
        # χ agrees with the field already, the denoised one less so.
        solve = partial(proximal_step, max_iterations=SOLVER_ITERATIONS, start=chi)
        return solve(denoised, given.data, strength), None

    chi, _ = jax.lax.scan(step, given.start, (levels, pulls))
    return given.scale * referenced(chi, mask)
