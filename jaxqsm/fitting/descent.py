"""The loop of all fits of a network to one scan: down the misfit, and stop where unseen voxels say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Integer, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.data_consistency import TYPICAL_FIELD, Measurement
from jaxqsm.operators import gradient, squared_steepness

HELD_OUT = 0.1
"""Part of the voxels whose field the fit does not see."""

MEMORY = 0.9
"""Decay of the average over steps that is scored and returned: single steps are restless."""


class Descent(NamedTuple):
    """Result of a per-scan optimisation.

    Attributes:
        chi: in the unit of the field, of the step that predicted the held-out field best.
        parameters: of that step.
        step: that step.
        held_out: misfit of the held-out field at every step, over its size.
    """

    chi: Float[Array, "x y z"]
    parameters: Any
    step: Float[Array, ""]
    held_out: Float[Array, " step"]


def held_out(key: PRNGKeyArray, mask: Bool[Array, "x y z"]) -> Bool[Array, "x y z"]:
    """Draw the held-out voxels of a per-scan optimisation."""
    return mask & (jax.random.uniform(key, mask.shape) < HELD_OUT)


def descend(
    image: Callable[[Any, Integer[Array, ""]], Float[Array, "x y z"]],
    parameters: Any,
    data: Measurement,
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    key: PRNGKeyArray,
    *,
    weight: float,
    learning_rate: float,
    max_iterations: int,
    phase_scale: ArrayLike | None = None,
    splits: Bool[Array, "split x y z"] | None = None,
) -> Descent:
    """Minimise ½ Σ |W (Dχ − field)|² + weight / 0.02 ppm · Σ |∇χ| over ``parameters``, by Adam.

    A tenth of the voxels is held out. An average over recent steps predicts their field; the average with
    the least misfit is kept, and so the fit ends where it begins to learn noise, whatever ``max_iterations``.

    Args:
        image: from parameters, and the number of the split, to χ.
        parameters: to start from, any pytree.
        data: the field at unit size (``data_consistency.at_unit_size``), and its weights.
        mask: where the field is valid.
        geometry: voxel size, for the total variation.
        key: draws the held-out voxels.
        weight: of Σ |∇χ|, ppm · mm, for a field whose size is ``TYPICAL_FIELD``.
        learning_rate: of Adam.
        max_iterations: of Adam.
        phase_scale: s; the data term is then Σ |W (exp(is Dχ) − exp(is field))|² / s², in which 2π
            multiples of the phase do not count. Default: that of the field.
        splits: voxels that count in the loss, one after another of these a step. Default: all but the
            held-out ones.
    """
    unknown = held_out(key, mask)
    size = jnp.maximum(jnp.sum((data.weights * data.field) ** 2), 1e-30)
    unseen = jnp.maximum(jnp.sum((data.weights * data.field) ** 2 * unknown), 1e-30)
    counting = (mask if splits is None else splits) & ~unknown
    counting = counting.reshape(-1, *mask.shape)

    def weighted(left: Array) -> Array:
        """Of the misfit; less its mean, as the mean of a field has no source."""
        squared = data.weights**2 / jnp.sum(data.weights**2)
        if phase_scale is None:
            return data.weights * (left - jnp.sum(squared * left))
        turned = jnp.exp(1j * phase_scale * left)
        left = left - jnp.angle(jnp.sum(squared * turned)) / phase_scale
        return data.weights * 2 / phase_scale * jnp.sin(phase_scale * left / 2)

    def loss(parameters: Any, number: Array) -> tuple[Array, tuple[Array, Array]]:
        chi = image(parameters, number)
        left = data.predict(chi) - data.field
        steepness = jnp.sqrt(squared_steepness(gradient(chi, geometry)) + 1e-12)
        misfit = jnp.where(counting[number], weighted(left) ** 2, 0)
        value = jnp.sum(misfit) / 2 + weight / TYPICAL_FIELD * jnp.sum(steepness * mask)
        return value / size, (chi, left)

    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate))

    def advance(state, step):
        parameters, optimiser_state, average, best = state
        slope, now = jax.grad(loss, has_aux=True)(parameters, step.astype(int) % len(counting))
        # χ and its misfit are averaged alike, as one is linear in the other.
        keep = jnp.minimum(MEMORY, step / (step + 1.0))
        average = jax.tree.map(lambda a, n: keep * a + (1 - keep) * n, average, now)
        on_valid_voxels = jnp.sum(weighted(average[1]) ** 2 * unknown) / unseen
        better = on_valid_voxels < best[0]
        best = jax.tree.map(
            lambda b, n: jnp.where(better, n, b), best, (on_valid_voxels, step, average[0], parameters)
        )
        change, optimiser_state = optimiser.update(slope, optimiser_state)
        return (optax.apply_updates(parameters, change), optimiser_state, average, best), on_valid_voxels

    nothing = jnp.zeros_like(data.field)
    best = jnp.asarray(jnp.inf, nothing.dtype), jnp.asarray(0.0), nothing, parameters
    start = parameters, optimiser.init(parameters), (nothing, nothing), best
    (*_, (_, step, chi, parameters)), history = jax.lax.scan(
        advance, start, jnp.arange(max_iterations, dtype=nothing.dtype)
    )
    return Descent(chi, parameters, step, history)
