"""Tasks other than inversion: what their examples hold, and networks that learn one of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import relative_error

from jaxqsm.geometry import Geometry
from jaxqsm.inversion import tikhonov
from jaxqsm.learning import DataConfig, SimulatedExamples, objective
from jaxqsm.learning.examples import Example
from jaxqsm.learning.objective import cycle, on_valid_voxels, without_mean
from jaxqsm.networks import FunctionNetwork, build
from jaxqsm.operators import erode
from jaxqsm.physics import dipole_field, wrap_phase

DATA = DataConfig(shape=24, sources={"head": 1.0}, window=2, reuse=2, noise=(0.05, 0.05))


def _example(task, number=0, **changes):
    example = SimulatedExamples(dataclasses.replace(DATA, **changes), task, seed=5)[number]
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], example)


@pytest.mark.slow
def test_denoising_has_the_noise_that_it_says():
    example = _example("denoising")
    noise = (example.field - example.target)[example.mask]
    assert float(jnp.std(noise)) == pytest.approx(0.05, rel=0.05)
    np.testing.assert_allclose(example.weights[example.mask], 20, rtol=1e-5)
    assert float(jnp.abs(jnp.mean(example.target[example.mask]))) < 1e-5


@pytest.mark.slow
def test_unwrapping_differs_by_whole_turns():
    example = _example("unwrapping", variety={"snr": (1e6, 2e6)}, contrast=(3.0, 3.0))
    turns = ((example.target - example.field) / (2 * np.pi))[example.mask & (example.weights > 0.05)]
    assert float(jnp.mean(jnp.abs(turns - jnp.round(turns)) < 0.01)) > 0.99
    assert float(jnp.abs(jnp.round(turns)).max()) >= 1
    np.testing.assert_allclose(wrap_phase(example.field), example.field, atol=1e-5)


@pytest.mark.slow
def test_separation_is_of_sources_whose_sum_makes_the_field():
    example = _example("separation", number=1, variety={"snr": (1e6, 2e6)})
    positive, negative = jnp.moveaxis(example.target, -1, 0)
    assert float(positive.min()) >= 0 >= float(negative.max())
    geometry = jax.tree.map(lambda leaf: leaf[0], example.geometry)
    field = dipole_field((positive + negative)[0], geometry)
    sure = np.asarray((example.mask & (example.weights > 0.05))[0])
    assert relative_error(example.field[0], field, sure) < 1e-2
    both = (positive - negative)[example.mask]
    assert float(jnp.std(example.start[example.mask] - both)) < 0.025
    # Where the fields cancel there are sources still.
    hidden = jnp.minimum(positive, -negative)[example.mask]
    assert 0.001 < float(jnp.mean(hidden)) < 0.06


def test_a_target_of_two_maps_is_cut_to_the_mask_as_one_is():
    mask = jnp.asarray(np.random.default_rng(0).random((1, 8, 8, 8)) < 0.5)
    both = jnp.ones((*mask.shape, 2))
    geometry = jax.tree.map(lambda leaf: leaf[None], Geometry())
    example = Example(both[..., 0], both, mask, mask, geometry)
    cut = on_valid_voxels(build("chi_sepnet", {"channels": 8}), example)
    np.testing.assert_array_equal(cut.target, jnp.stack([mask, mask], axis=-1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "name", "losses"),
    [("separation", "chi_sepnet", {"l1": 1.0, "l2": 1.0}), ("unwrapping", "phu_net", {"l1": 1.0})],
)
def test_a_network_learns_one_example(task, name, losses):
    example = _example(task, contrast=(2.0, 2.0))
    network = build(name, {"channels": 8}, seed=0)
    if task == "separation":
        scan = example.field, example.mask, example.geometry, example.weights
        example = example._replace(start=network.start(*scan, example.start))
    graph, parameters, others = nnx.split(network, nnx.Param, ...)
    optimiser = optax.adam(3e-3)

    def loss(parameters):
        return objective(nnx.merge(graph, parameters, others), example, losses, centred=False)[0]

    @jax.jit
    def step(parameters, state):
        value, slope = jax.value_and_grad(loss)(parameters)
        updates, state = optimiser.update(slope, state)
        return optax.apply_updates(parameters, updates), state, value

    state, values = optimiser.init(parameters), []
    for _ in range(150):
        parameters, state, value = step(parameters, state)
        values.append(float(value))
    assert values[-1] < 0.7 * values[0]
    found = nnx.merge(graph, parameters, others)
    if name == "phu_net":
        one = example.field, example.mask, example.geometry
        turns = (found.unwrap(*one, example.weights) - example.field)[example.mask] / (2 * np.pi)
        np.testing.assert_allclose(turns, jnp.round(turns), atol=1e-3)


@pytest.mark.slow
def test_a_cycle_asks_for_another_chi_than_that_of_the_data():
    pair = [_example("inversion", number) for number in (0, 2)]
    example = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *pair)

    def inverse(field, mask, geometry, magnitude):
        return jax.vmap(lambda f, m, g: tikhonov(f, m, g, weight=1e-2))(field, mask, geometry)

    def remembers(field, mask, geometry, magnitude):
        return example.target

    assert float(cycle(FunctionNetwork(inverse), example)) < 0.7 * float(
        cycle(FunctionNetwork(remembers), example)
    )
    other = example._replace(field=0 * example.field)
    assert float(cycle(FunctionNetwork(inverse), other)) == pytest.approx(
        float(cycle(FunctionNetwork(inverse), example))
    )


@pytest.mark.slow
def test_a_single_step_is_judged_where_it_is_valid():
    example = _example("single_step")
    network = build("single_step", {"channels": 4}, seed=0)
    inner = on_valid_voxels(network, example)
    geometry = jax.tree.map(lambda leaf: leaf[0], example.geometry)
    np.testing.assert_array_equal(inner.mask[0], erode(example.mask[0], 2.0, geometry))
    out = network(example.field, example.mask, example.geometry, example.weights)
    assert float(jnp.abs(jnp.where(inner.mask, 0, out)).max()) == 0
    value, _ = objective(network, example, {"l2": 1.0}, centred=True)
    target = without_mean(example.target * inner.mask, inner.mask)
    size = jnp.sqrt(jnp.sum(target**2))
    error = jnp.sqrt(jnp.sum((out - target) ** 2 * inner.mask)) / size
    assert float(value) == pytest.approx(float(error), rel=1e-3)
