"""The number that a step of training lowers, for any network and any mix of losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm.learning.examples import Example
from jaxqsm.learning.losses import (
    Volume,
    divergence,
    edge,
    gradient,
    l1,
    l2,
    likelihood,
    model,
    total_variation,
)
from jaxqsm.networks.pdi import Posterior

LOSSES: Mapping[str, Callable[[Volume, Example], Float[Array, ""]]] = {
    "l1": lambda out, example: l1(out, example.target, example.mask),
    "l2": lambda out, example: l2(out, example.target, example.mask),
    "gradient": lambda out, example: gradient(out, example.target, example.mask),
    "edge": lambda out, example: edge(out, example.target, example.mask),
    "total_variation": lambda out, example: total_variation(out, example.mask),
    "model": lambda out, example: model(
        out, example.field, example.mask, example.geometry, example.magnitude
    ),
}
"""Losses by the names that a training configuration uses."""

POSTERIOR_LOSSES: Mapping[str, Callable[[Posterior, Example], Float[Array, ""]]] = {
    "likelihood": lambda out, example: likelihood(out, example.target, example.mask),
    "divergence": lambda out, example: divergence(
        out, example.field, example.mask, example.geometry, example.magnitude
    ),
}
"""Losses of networks that give a distribution, by name."""

FADING = 0.6
"""Weight of an iterate's loss over the next one's: early iterates are led, the last counts most."""


def objective(
    network: Any, example: Example, losses: Mapping[str, float], *, centred: bool
) -> tuple[Array, Volume]:
    """Weighted sum of losses, of every iterate where a network shows them, and the network's output.

    Args:
        network: called with field, mask, geometry and magnitude.
        example: a batch.
        losses: weights by name.
        centred: compare with the target less its mean in the mask (χ has no absolute reference).

    Raises:
        ValueError: an unknown loss, or one that needs a distribution where the network gives none.
    """
    probabilistic = hasattr(network, "posterior")
    known = [*LOSSES, *(POSTERIOR_LOSSES if probabilistic else ())]
    unknown = set(losses) - set(known)
    if unknown or not losses:
        raise ValueError(f"losses {sorted(unknown) or 'are missing'}; use some of {', '.join(known)}")
    if centred:
        example = example._replace(target=without_mean(example.target, example.mask))
    inputs = network_inputs(example)
    if probabilistic:
        posterior = network.posterior(*inputs)
        total = jnp.zeros(())
        for name, part in losses.items():
            if name in LOSSES:
                total = total + part * LOSSES[name](posterior.mean, example)
            else:
                total = total + part * POSTERIOR_LOSSES[name](posterior, example)
        return total, posterior.mean
    outputs = network.iterates(*inputs) if hasattr(network, "iterates") else [network(*inputs)]
    weights = [FADING ** (len(outputs) - 1 - n) for n in range(len(outputs))]
    total = jnp.zeros(())
    for weight, output in zip(weights, outputs, strict=True):
        terms = [part * LOSSES[name](output, example) for name, part in losses.items()]
        total = total + weight / sum(weights) * sum(terms)
    return total, outputs[-1]


def network_inputs(example: Example) -> tuple[Any, ...]:
    """What a network is called with: the start too, where the examples were made with one."""
    inputs = example.field, example.mask, example.geometry, example.magnitude
    return inputs if example.start is None else (*inputs, example.start)


def without_mean(values: Volume, mask: Array) -> Volume:
    """Values less their mean in the mask, zero outside."""
    count = jnp.maximum(jnp.sum(mask, (1, 2, 3), keepdims=True), 1)
    return (values - jnp.sum(values * mask, (1, 2, 3), keepdims=True) / count) * mask
