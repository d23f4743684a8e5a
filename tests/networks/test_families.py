"""Every network: what a scan may ask of it, and that it learns a sample."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import ball, smooth_blobs

from jaxqsm import Geometry
from jaxqsm.learning.losses import divergence, likelihood
from jaxqsm.networks import NETWORKS, VoxelwiseNormal, build, measurement, parameter_count

SHAPE = (20, 17, 14)
SMALL = {name: dict(family.small) for name, family in NETWORKS.items()}
SIZES = {"modl_qsm": 447_235, "pdi": 31_027_491, "ir2qsm": 10_050_553}
"""Counted once from the layers that the published code uses; that of PDI with its mean variance."""

RATES = {"auto_qsm": 3e-3}
"""Learning rates: its rectifiers, which nothing normalises, all fall silent at 1e-2."""


@pytest.fixture(scope="module")
def scan():
    mask = jnp.asarray(ball(SHAPE, 6))
    chi = 0.1 * jnp.asarray(smooth_blobs(SHAPE, seed=3), jnp.float32) * mask
    geometries = Geometry((1.0, 1.0, 1.0)), Geometry((1.0, 1.2, 2.0), (0.0, 0.6, 0.8))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *geometries)
    masks, chis = (jnp.stack([v, v]) for v in (mask, chi))
    fields = jax.vmap(lambda c, m, g: measurement(c, m, g).predict(c) * m)(chis, masks, stacked)
    return fields, masks, stacked, chis


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "single_step" else [])
        for name, family in NETWORKS.items()
        if family.task != "separation"
    ],
)
def test_any_shape_and_mask_and_each_scan_by_its_own_geometry(scan, name):
    fields, masks, geometries, _ = scan
    network = build(name, SMALL[name], seed=2)
    network.eval()
    call = jax.jit(lambda *batch: network(*batch))
    out = call(fields, masks, geometries)
    assert out.shape == fields.shape
    assert bool(jnp.isfinite(out).all())
    assert float(jnp.abs(jnp.where(masks, 0, out)).max()) == 0
    rubbish = call(jnp.where(masks, fields, 9.0), masks, geometries)
    np.testing.assert_allclose(rubbish, out, atol=1e-4 * float(jnp.abs(out).max()))
    one_field = jnp.stack([fields[0], fields[0]])
    both = call(one_field, masks, geometries)
    differs = float(jnp.abs(both[0] - both[1]).max()) > 1e-3 * float(jnp.abs(both).max())
    assert differs == NETWORKS[name].physics


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n for n in NETWORKS if n not in ("unrolled", "error_standard_deviation", "chi_sepnet")]
)
def test_learns_one_sample(scan, name):
    """From a field, whatever its usual task, to χ: the error falls to less than half."""
    fields, masks, geometries, chis = (jax.tree.map(lambda leaf: leaf[:1], v) for v in scan)
    network = build(name, SMALL[name] | ({"dropout": 0.0} if "blocks" in SMALL[name] else {}), seed=1)
    chis = chis * network.valid(masks, geometries)
    graph, parameters, others = nnx.split(network, nnx.Param, ...)
    optimiser = optax.adam(RATES.get(name, 1e-2))

    def loss(parameters, others):
        network = nnx.merge(graph, parameters, others, copy=True)
        network.train()
        value = jnp.sqrt(jnp.sum((network(fields, masks, geometries) - chis) ** 2) / jnp.sum(chis**2))
        return value, nnx.state(network, nnx.Not(nnx.Param))

    @jax.jit
    def step(parameters, others, state):
        (value, others), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, others)
        updates, state = optimiser.update(gradient, state)
        return optax.apply_updates(parameters, updates), others, state, value

    state, values = optimiser.init(parameters), []
    for _ in range(120):
        parameters, others, state, value = step(parameters, others, state)
        values.append(float(value))
    assert min(values[-20:]) < 0.5 * max(values[0], 0.8)


@pytest.mark.parametrize(("name", "count"), SIZES.items())
def test_sizes_are_those_of_the_published_code(name, count):
    assert parameter_count(nnx.eval_shape(lambda: build(name, {}))) == count


def test_likelihood_is_least_at_the_truth_and_its_own_error():
    rng = np.random.default_rng(0)
    mask = jnp.ones((1, 6, 6, 6), bool)
    target = jnp.asarray(rng.standard_normal(mask.shape))
    mean = target + 0.3 * jnp.asarray(rng.standard_normal(mask.shape))
    mean_square = float(jnp.mean((mean - target) ** 2))
    right, less, more = (
        float(likelihood(VoxelwiseNormal(mean, jnp.full(mask.shape, v * mean_square)), target, mask))
        for v in (1.0, 0.8, 1.25)
    )
    assert right < min(less, more)


def test_divergence_counts_the_spread_of_chi_through_the_dipole(scan):
    """As the mean misfit of samples does."""
    fields, masks, geometries, chis = (jax.tree.map(lambda leaf: leaf[1:], v) for v in scan)
    rng = np.random.default_rng(0)
    variance = jnp.asarray(rng.uniform(0.5, 1.5, chis.shape) * 1e-4, jnp.float32)
    geometry = jax.tree.map(lambda leaf: leaf[0], geometries)
    data = measurement(fields[0], masks[0], geometry)
    scale = float(jnp.sqrt(jnp.sum(data.field**2) / masks.sum()))
    value = float(divergence(VoxelwiseNormal(chis, variance), fields, masks, geometries))
    sure = float(divergence(VoxelwiseNormal(chis, 1e-12 + 0 * variance), fields, masks, geometries))
    spread = value - sure + float(jnp.sum(masks * 0.5 * (jnp.log(variance) - np.log(1e-12))) / masks.sum())
    noise = rng.standard_normal((200, *SHAPE)) * np.sqrt(np.asarray(variance)) * np.asarray(masks)
    predicted = jax.vmap(data.predict)(jnp.asarray(noise, jnp.float32)) * masks[0]
    sampled = 0.5 * float(jnp.mean(jnp.sum(predicted**2, (1, 2, 3))) / masks.sum()) / (0.1 * scale) ** 2
    assert spread == pytest.approx(sampled, rel=0.05)
