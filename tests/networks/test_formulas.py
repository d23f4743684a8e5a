"""Layers and networks against what their formulas say, one deliberate difference at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import ball, relative_error, smooth_blobs

from jaxqsm import Geometry
from jaxqsm.inversion import ndi
from jaxqsm.networks import build, closed_form_step, measurement
from jaxqsm.networks.blocks.layers import NormalisedConvolution
from jaxqsm.networks.published.pdi import VARIANCE_UNIT
from jaxqsm.networks.published.xqsm import _Octave
from jaxqsm.physics import dipole_convolve, dipole_kernel
from jaxqsm.variational.common import data_weights, padded_shape

SHAPE = (16, 16, 16)
GEOMETRY = Geometry((1.0, 1.2, 1.5), (0.0, 0.6, 0.8))
PADDED = padded_shape(SHAPE)
KERNEL = dipole_kernel(PADDED, GEOMETRY)


def _filtered(image, response):
    return np.asarray(dipole_convolve(jnp.asarray(image), jnp.asarray(response), PADDED))


@pytest.fixture
def scan():
    mask = ball(SHAPE, 6)
    magnitude = (1 + 0.6 * smooth_blobs(SHAPE, seed=2)) * mask
    field = 0.02 * smooth_blobs(SHAPE, seed=1) * mask
    return jnp.asarray(field, jnp.float32), jnp.asarray(mask), jnp.asarray(magnitude, jnp.float32)


@pytest.mark.parametrize(("strength", "rho"), [(0.1, 1.0), (0.3, 0.2)])
def test_the_closed_form_step_is_its_two_divisions(scan, strength, rho):
    field, mask, magnitude = scan
    chi = 0.05 * smooth_blobs(SHAPE, seed=3)
    squared = np.asarray(data_weights(mask, magnitude)) ** 2
    predicted = _filtered(chi, KERNEL)
    split = (squared * np.asarray(field) + rho * predicted) / (squared + rho)
    expected = chi + _filtered(split - predicted, KERNEL / (KERNEL**2 + strength))
    data = measurement(field, mask, GEOMETRY, magnitude)
    found = closed_form_step(jnp.asarray(chi, jnp.float32), data, strength, rho=rho)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_one_step_of_ndi_squares_the_weights(scan):
    field, mask, magnitude = scan
    weights = np.asarray(magnitude) / np.asarray(magnitude).max()
    expected = _filtered(weights**2 * np.asarray(field), KERNEL) * np.asarray(mask)
    expected -= expected[np.asarray(mask)].mean() * np.asarray(mask)
    options = {"step_size": 1.0, "max_iterations": 1, "early_stopping": False}
    found = ndi(field, mask, GEOMETRY, weights=jnp.asarray(weights), **options)
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_weights_are_scaled_to_the_mask_and_capped_at_three(scan):
    _, mask, magnitude = scan
    inside = np.asarray(mask)
    plain = np.asarray(data_weights(mask, magnitude))
    assert np.sqrt((plain[inside] ** 2).mean()) == pytest.approx(1, rel=1e-5)
    bright = magnitude.at[8, 8, 8].set(40.0)
    root = np.sqrt((np.asarray(bright)[inside] ** 2).mean())
    assert 40 / root > 3
    capped = np.asarray(data_weights(mask, bright))
    np.testing.assert_allclose(capped[inside], np.minimum(np.asarray(bright)[inside] / root, 3), rtol=1e-5)


def _batch(*volumes):
    return [v[None] for v in volumes], jax.tree.map(lambda leaf: leaf[None], GEOMETRY)


def test_the_prior_of_vandi_takes_away_what_its_filters_see(scan):
    field, mask, _ = scan
    (fields, masks), geometry = _batch(field, mask)
    network = build("vandi", {"iterations": 2}, seed=0)
    network.steps[...] = jnp.array([1.0, 0.0])
    shrunk = network(fields, masks, geometry)
    network.responses[...] = jnp.zeros_like(network.responses[...])
    free = network(fields, masks, geometry)
    # φ grows with its argument, so the second step, which has no data, shortens χ: ⟨χ, Kᵀφ(Kχ)⟩ > 0.
    assert float(jnp.vdot(free, free - shrunk)) > 1e-3 * float(jnp.vdot(free, free))


def test_the_variance_of_pdi_has_the_mean_that_it_learns(scan):
    field, mask, _ = scan
    (fields, masks), geometry = _batch(field, mask)
    network = build("pdi", {"channels": 4, "depth": 2, "mean_variance": 3e-3}, seed=0)
    network.eval()
    for mean in (3e-3, 6e-3):
        network.mean_variance[...] = jnp.asarray(mean)
        variance = np.asarray(network.posterior(fields, masks, geometry).variance)
        assert variance[np.asarray(masks)].mean() == pytest.approx(VARIANCE_UNIT * mean, rel=1e-3)
    assert pytest.approx(1 / 9) == VARIANCE_UNIT


@pytest.mark.parametrize(
    "other", [Geometry((1.0, 1.2, 1.5), (0.6, 0.0, 0.8)), Geometry((1.0, 1.2, 2.5), (0.0, 0.6, 0.8))]
)
def test_adain_qsm_is_told_direction_and_voxel_size(scan, other):
    field, mask, _ = scan
    (fields, masks), geometry = _batch(field, mask)
    network = build("adain_qsm", {"channels": 4, "depth": 2}, seed=0)
    network.eval()
    changed = jax.tree.map(lambda leaf: leaf[None], other)
    one, two = (network(fields, masks, g) for g in (geometry, changed))
    assert relative_error(two, one) > 1e-3


@pytest.mark.parametrize("momentum", [0.9, 0.99])
def test_running_statistics_move_by_the_momentum(momentum):
    layer = NormalisedConvolution(1, 3, momentum=momentum, rngs=nnx.Rngs(0))
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 6, 6, 1)), jnp.float32)
    convolved = np.asarray(layer.convolution(images)).reshape(-1, 3)
    layer.train()
    layer(images)
    np.testing.assert_allclose(layer.norm.mean[...], (1 - momentum) * convolved.mean(0), rtol=1e-4, atol=1e-6)
    expected = momentum + (1 - momentum) * convolved.var(0)
    np.testing.assert_allclose(layer.norm.var[...], expected, rtol=1e-3)


@pytest.mark.parametrize(("name", "expected"), [("qsmnet", 0.99), ("xqsm", 0.9), ("iqsm_plus", 0.9)])
def test_networks_have_the_momentum_of_their_published_code(name, expected):
    network = build(name, {"channels": 4}, seed=0)
    norms = [module for _, module in nnx.iter_modules(network) if isinstance(module, nnx.BatchNorm)]
    assert {norm.momentum for norm in norms} == {expected}


def test_paths_between_fine_and_coarse_lead_where_they_say():
    octave = _Octave(4, 4, rngs=nnx.Rngs(0))
    octave.eval()
    rng = np.random.default_rng(0)
    fine = jnp.asarray(rng.standard_normal((1, 8, 8, 8, 2)), jnp.float32)
    coarse = jnp.asarray(rng.standard_normal((1, 4, 4, 4, 2)), jnp.float32)

    def depends():
        first = octave((fine, coarse))
        other_fine, other_coarse = octave((2 * fine, coarse)), octave((fine, 2 * coarse))
        return float(jnp.abs(other_coarse[0] - first[0]).max()) > 0, float(
            jnp.abs(other_fine[1] - first[1]).max()
        ) > 0

    assert depends() == (True, True)
    kernel = octave.coarse_to_fine.kernel
    kept = kernel[...]
    kernel[...] = 0 * kept
    assert depends() == (False, True)
    kernel[...] = kept
    octave.fine_to_coarse.kernel[...] = 0 * octave.fine_to_coarse.kernel[...]
    assert depends() == (True, False)


def test_mixed_precision_convolves_in_bfloat16_and_leaves_the_physics_alone(scan):
    field, mask, _ = scan
    (fields, masks), geometry = _batch(field, mask)
    options = {"channels": 4, "iterations": 1}
    plain, mixed = (
        build("unrolled", options | {"mixed_precision": choice}, seed=0) for choice in (False, True)
    )
    for network in (plain, mixed):  # which begins as its start, and adds nothing to it
        parameters = nnx.state(network, nnx.Param)
        keys = jax.random.split(jax.random.key(0), len(jax.tree.leaves(parameters)))
        leaves = [
            leaf + 0.05 * jax.random.normal(key, leaf.shape)
            for leaf, key in zip(jax.tree.leaves(parameters), keys, strict=True)
        ]
        nnx.update(network, jax.tree.unflatten(jax.tree.structure(parameters), leaves))
    programs = [str(jax.make_jaxpr(lambda f, n=n: n(f, masks, geometry))(fields)) for n in (plain, mixed)]
    assert ["bf16" in program for program in programs] == [False, True]
    one, two = (np.asarray(n(fields, masks, geometry)) for n in (plain, mixed))
    assert one.dtype == two.dtype == np.float32
    assert 0 < relative_error(two, one) < 0.02
