"""The loop of all fits of a network to one scan: down the misfit, and stop where unseen voxels say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.networks.data_consistency import Measurement
from jaxqsm.operators import gradient

HELD_OUT = 0.1
"""Part of the voxels whose field the fit does not see."""

MEMORY = 0.9
"""Of the average over steps that is judged and kept: single steps are restless."""


class Descent(NamedTuple):
    """What a fit found.

    Attributes:
        chi: ppm, of the step that predicted the held-out field best.
        parameters: of that step.
        step: that step.
        held_out: misfit of the held-out field at every step, over its size.
    """

    chi: Float[Array, "x y z"]
    parameters: Any
    step: Float[Array, ""]
    held_out: Float[Array, " step"]


def descend(
    image: Callable[[Any], Float[Array, "x y z"]],
    parameters: Any,
    data: Measurement,
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    key: PRNGKeyArray,
    *,
    weight: float,
    learning_rate: float,
    steps: int,
) -> Descent:
    """Least Σ |W (Dχ − field)|² over the voxels that are shown, and total variation, over ``parameters``.

    A tenth of the voxels is held out. An average over recent steps predicts their field; the average with
    the least misfit is kept, and so the fit ends where it begins to learn noise, whatever ``steps``.

    Args:
        image: from parameters to χ, ppm.
        parameters: to start from, any pytree.
        data: the field and its weights.
        mask: where the field is valid.
        geometry: voxel size, for the total variation.
        key: draws the held-out voxels.
        weight: of Σ |∇χ|, ppm · mm.
        learning_rate: of Adam.
        steps: of Adam.
    """
    held_out = mask & (jax.random.uniform(key, mask.shape) < HELD_OUT)
    size = jnp.maximum(jnp.sum((data.weights * data.field) ** 2), 1e-30)
    unseen = jnp.maximum(jnp.sum((data.weights * data.field) ** 2 * held_out), 1e-30)

    def loss(parameters: Any) -> tuple[Array, tuple[Array, Array]]:
        chi = image(parameters)
        misfit = data.weights * (data.predict(chi) - data.field)
        # The mean of a field has no source.
        misfit = misfit - data.weights * jnp.sum(data.weights * misfit) / jnp.sum(data.weights**2)
        slopes = gradient(chi, geometry)
        steepness = jnp.sqrt(slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2 + 1e-12)
        value = jnp.sum(jnp.where(held_out, 0, misfit**2)) / 2 + weight * jnp.sum(steepness * mask)
        return value / size, (chi, misfit)

    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate))

    def advance(state, step):
        parameters, optimiser_state, average, best = state
        slope, now = jax.grad(loss, has_aux=True)(parameters)
        # χ and its misfit are averaged alike, as one is linear in the other.
        keep = jnp.minimum(MEMORY, step / (step + 1.0))
        average = jax.tree.map(lambda a, n: keep * a + (1 - keep) * n, average, now)
        judged = jnp.sum(average[1] ** 2 * held_out) / unseen
        better = judged < best[0]
        best = jax.tree.map(
            lambda b, n: jnp.where(better, n, b), best, (judged, step, average[0], parameters)
        )
        change, optimiser_state = optimiser.update(slope, optimiser_state)
        return (optax.apply_updates(parameters, change), optimiser_state, average, best), judged

    nothing = jnp.zeros_like(data.field)
    best = jnp.asarray(jnp.inf, nothing.dtype), jnp.asarray(0.0), nothing, parameters
    start = parameters, optimiser.init(parameters), (nothing, nothing), best
    (*_, (_, step, chi, parameters)), history = jax.lax.scan(
        advance, start, jnp.arange(steps, dtype=nothing.dtype)
    )
    return Descent(chi, parameters, step, history)
