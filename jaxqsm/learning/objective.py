"""The number that a step of training lowers, for any network and any mix of losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm.geometry import Geometry
from jaxqsm.learning.examples import Example
from jaxqsm.learning.losses import (
    Volume,
    denoising,
    divergence,
    edge,
    gradient,
    l1,
    l2,
    likelihood,
    model,
    total_variation,
)
from jaxqsm.networks import Network, VoxelwiseNormal, measurement
from jaxqsm.networks.network import with_start

LOSSES: Mapping[str, Callable[[Volume, Example], Float[Array, ""]]] = {
    "l1": lambda out, example: l1(out, example.target, example.mask),
    "l2": lambda out, example: l2(out, example.target, example.mask),
    "gradient": lambda out, example: gradient(out, example.target, example.mask),
    "edge": lambda out, example: edge(out, example.target, example.mask),
    "denoising": lambda out, example: denoising(out, example.target, example.mask, example.weights),
    "total_variation": lambda out, example: total_variation(out, example.mask),
    "model": lambda out, example: model(out, example.field, example.mask, example.geometry, example.weights),
}
"""Losses by the names that a training configuration uses."""

POSTERIOR_LOSSES: Mapping[str, Callable[[VoxelwiseNormal, Example], Float[Array, ""]]] = {
    "likelihood": lambda out, example: likelihood(out, example.target, example.mask),
    "divergence": lambda out, example: divergence(
        out, example.field, example.mask, example.geometry, example.weights
    ),
}
"""Losses of networks that give a distribution, by name."""

Again = Callable[[Any, Volume, Example], Float[Array, ""]]

AGAIN: Mapping[str, Again] = {
    "equivariance": lambda network, output, example: equivariance(network, output, example),
    "cycle": lambda network, output, example: cycle(network, example),
}
"""Losses that ask a network once more, about fields that the physics makes, by name."""

WITHOUT_TARGET = frozenset({"model", "total_variation", "divergence", "equivariance"})
"""Losses that need no target."""

FADING = 0.6
"""Weight of an iterate's loss over the next one's: early iterates are led, the last counts most."""


def on_valid_voxels(network: Network, example: Example) -> Example:
    """Cut the mask of an example to the network's valid output."""
    mask = network.valid(example.mask, example.geometry)
    # χ⁺ and χ⁻ stand along a last axis.
    inside = mask.reshape(mask.shape + (1,) * (example.target.ndim - mask.ndim))
    return example._replace(mask=mask, target=example.target * inside)


def objective(
    network: Network, example: Example, losses: Mapping[str, float], *, centred: bool
) -> tuple[Array, Volume]:
    """Sum the weighted losses of every iterate of a network; returns its output too.

    Args:
        network: called with field, mask, geometry and weights.
        example: a batch.
        losses: weights by name.
        centred: compare with the target less its mean in the mask (χ has no absolute reference).

    Raises:
        ValueError: an unknown loss, or one that needs a distribution where the network gives none.
    """
    probabilistic = network.probabilistic
    known = [*LOSSES, *(POSTERIOR_LOSSES if probabilistic else AGAIN)]
    unknown = set(losses) - set(known)
    if unknown or not losses:
        raise ValueError(f"losses {sorted(unknown) or 'are missing'}; use some of {', '.join(known)}")
    inputs = network_inputs(example)
    example = on_valid_voxels(network, example)
    if centred:
        example = example._replace(target=without_mean(example.target, example.mask))
    if probabilistic:
        posterior = network.posterior(*inputs)
        total = jnp.zeros(())
        for name, part in losses.items():
            if name in LOSSES:
                total = total + part * LOSSES[name](posterior.mean, example)
            else:
                total = total + part * POSTERIOR_LOSSES[name](posterior, example)
        return total, posterior.mean
    outputs = network.iterates(*inputs)
    weights = [FADING ** (len(outputs) - 1 - n) for n in range(len(outputs))]
    total = jnp.zeros(())
    for weight, output in zip(weights, outputs, strict=True):
        terms = [part * _of_parts(name, output, example) for name, part in losses.items() if name in LOSSES]
        total = total + weight / sum(weights) * sum(terms, jnp.zeros(()))
    for name in AGAIN.keys() & losses.keys():
        total = total + losses[name] * AGAIN[name](network, outputs[-1], example)
    return total, outputs[-1]


def _of_parts(name: str, output: Volume, example: Example) -> Float[Array, ""]:
    """A loss, or its mean over the volumes along a last axis where a network gives several."""
    if output.ndim == 4:
        return LOSSES[name](output, example)
    parts = range(output.shape[-1])
    each = [LOSSES[name](output[..., n], example._replace(target=example.target[..., n])) for n in parts]
    return jnp.mean(jnp.stack(each))


def equivariance(network: Network, output: Volume, example: Example) -> Float[Array, ""]:
    """Compute the mean absolute error on the field of the network's own χ, rotated against B0.

    A head may lie in any direction. So χ that the network found, turned by 90° about another axis than the
    field's, is as good a head; its field is known, and from it the network should find it again. What lay in
    the magic-angle cone then lies outside: unlike the misfit of the data, this tells a network what
    to put there, and needs no truth. Patches must be cubes, as the examples of training are.

    Args:
        network: called as :func:`objective` calls it.
        output: χ that it found, ppm.
        example: that it was given.

    References:
        Chen, Tachella & Davies 2021, ICCV, doi:10.1109/ICCV48922.2021.00434 (equivariant imaging).
    """

    def turn(volume: Volume) -> Volume:
        return jnp.transpose(volume, (0, 3, 1, 2))  # x → y → z → x, while the field stays where it is

    chi, mask, weights = turn(output), turn(example.mask), turn(example.weights)
    geometry = jax.vmap(lambda g: Geometry(jnp.roll(g.voxel_size, 1), g.b0_dir))(example.geometry)
    return _found_again(network, chi, mask, geometry, weights)


def cycle(network: Network, example: Example) -> Float[Array, ""]:
    """Compute the mean absolute error on the dipole field of another example's χ.

    From χ to field the way is known, so that of the cycle of two networks that unpaired training uses only
    one is left to learn. Every example of a batch is given the next one's χ, cut to its own mask, so that
    field and χ of an example are never seen together; where a device has one alone, its own χ mirrored.

    Args:
        network: called as :func:`objective` calls it.
        example: a batch; its field is not used.

    References:
        Oh, Bae, Ryu, Kim, Lee & Ye 2021, arXiv:2102.01265 (cycleQSM).
    """
    others = jnp.roll(example.target, 1, 0) if len(example.target) > 1 else example.target[:, ::-1]
    chi = without_mean(others, example.mask)
    return _found_again(network, chi, example.mask, example.geometry, example.weights)


def _found_again(network: Network, chi: Volume, mask: Array, geometry: Geometry, weights: Volume) -> Array:
    data = jax.vmap(measurement)(chi, mask, geometry, weights)
    field = jax.vmap(lambda d, c: d.predict(c))(data, chi) * mask
    inputs = field, mask, geometry, weights
    # The start needs no weights; its dependence on them through χ is left out, as it is costly.
    again = network(*with_start(network, jax.lax.stop_gradient(inputs), inputs))
    return l1(without_mean(again, mask), without_mean(chi, mask), mask)


def network_inputs(example: Example) -> tuple[Any, ...]:
    """Collect the inputs of a network from an example, the start included where there is one."""
    inputs = example.field, example.mask, example.geometry, example.weights
    return inputs if example.start is None else (*inputs, example.start)


def without_mean(values: Volume, mask: Array) -> Volume:
    """Subtract the mean in the mask; zero outside."""
    count = jnp.maximum(jnp.sum(mask, (1, 2, 3), keepdims=True), 1)
    return (values - jnp.sum(values * mask, (1, 2, 3), keepdims=True) / count) * mask
