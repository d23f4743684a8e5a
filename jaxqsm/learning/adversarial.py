"""Training against a critic, which learns to tell maps of χ from truth while the network learns to pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from jaxqsm.learning.examples import Example
from jaxqsm.networks.published.qsmgan import Critic

STEEPNESS = 10.0
"""Weight of the penalty on slopes of the critic other than 1, as published."""

Volume = Float[Array, "batch x y z"]


class CriticState(NamedTuple):
    """Parameters of a GAN critic and the state of its optimiser."""

    parameters: nnx.State
    optimiser: optax.OptState


class CriticTraining:
    """The critic's side of the training.

    Args:
        learning_rate: of the critic.
        seed: of its first weights.

    References:
        Gulrajani et al. 2017, NeurIPS, arXiv:1704.00028 (Wasserstein distance with a penalty on the slope).
    """

    def __init__(self, learning_rate: float, seed: int) -> None:
        self._graph, self._first = nnx.split(Critic(rngs=nnx.Rngs(seed)))
        self._optimiser = optax.adam(learning_rate, b1=0.5, b2=0.9)
        self._seed = seed

    def first(self) -> CriticState:
        """Return the state before any step."""
        return CriticState(self._first, self._optimiser.init(self._first))

    def loss(self, critic: CriticState, output: Volume, example: Example) -> Float[Array, ""]:
        """Compute the adversarial loss of the network: minus the critic's score of its output."""
        fake, _, field = _seen(output, example)
        return -jnp.mean(self._judge(jax.lax.stop_gradient(critic.parameters), fake, field))

    def step(self, critic: CriticState, output: Volume, example: Example, number: Array) -> CriticState:
        """Update the critic on a batch; ``number`` of the step seeds the random mixtures."""
        fake, real, field = _seen(jax.lax.stop_gradient(output), example)
        key = jax.random.fold_in(jax.random.key(self._seed), number)
        gradient = jax.grad(self.distance)(critic.parameters, fake, real, field, key)
        updates, state = self._optimiser.update(gradient, critic.optimiser)
        return CriticState(optax.apply_updates(critic.parameters, updates), state)

    def distance(
        self, parameters: nnx.State, fake: Volume, real: Volume, field: Volume, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        """Compute the critic's Wasserstein loss with its gradient penalty."""
        part = jax.random.uniform(key, (len(fake), 1, 1, 1))
        mixed = part * real + (1 - part) * fake
        slope = jax.grad(lambda chi: jnp.sum(self._judge(parameters, chi, field)))(mixed)
        steepness = jnp.sqrt(jnp.sum(slope**2, (1, 2, 3)) + 1e-12)
        penalty = STEEPNESS * jnp.mean((steepness - 1) ** 2)
        of_fake, of_real = (jnp.mean(self._judge(parameters, chi, field)) for chi in (fake, real))
        return of_fake - of_real + penalty

    def _judge(self, parameters: nnx.State, chi: Volume, field: Volume) -> Float[Array, " batch"]:
        return nnx.merge(self._graph, parameters)(chi, field)


def _seen(output: Volume, example: Example) -> tuple[Any, Any, Any]:
    """Guess, truth and field as the critic sees them: each over the size that it has in the example."""

    def size(values: Volume) -> Array:
        count = jnp.maximum(jnp.sum(example.mask, (1, 2, 3), keepdims=True), 1)
        return jnp.sqrt(jnp.sum(values**2 * example.mask, (1, 2, 3), keepdims=True) / count + 1e-12)

    scale = size(example.target)
    field = example.field * example.mask
    return output / scale, example.target * example.mask / scale, field / size(field)
