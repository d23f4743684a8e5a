"""The recommended network: its symmetries, its size, that it learns, and that its file holds all of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import ball, relative_error, smooth_blobs

from jaxqsm import Geometry
from jaxqsm.networks import build, load_network, measurement, parameter_count, save_weights
from jaxqsm.networks.blocks.data_consistency import TYPICAL_FIELD, root_mean_square
from jaxqsm.networks.ours.unrolled import START_WEIGHT, Unrolled, UnrolledConfig, _smooth

SHAPE = (18, 16, 21)
SMALL = UnrolledConfig(iterations=2, channels=8, memory=4)


def _batch(geometries, shape=SHAPE, radius=7):
    mask = jnp.asarray(ball(shape, radius))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *geometries)
    chi = jnp.stack(
        [0.1 * jnp.asarray(smooth_blobs(shape, seed=s), jnp.float32) for s in range(len(geometries))]
    )
    chi = chi * mask
    masks = jnp.broadcast_to(mask, chi.shape)
    field = jax.vmap(lambda c, m, g: measurement(c, m, g).predict(c) * m)(chi, masks, stacked)
    return field, masks, stacked, chi


@pytest.mark.slow
def test_scales_exactly_and_treats_each_scan_by_its_own_geometry():
    network = Unrolled(SMALL, rngs=nnx.Rngs(0))
    geometries = Geometry(), Geometry((1.0, 1.0, 2.0), (0.0, 0.6, 0.8))
    field, mask, stacked, _ = _batch(geometries)
    both = network(field, mask, stacked)
    alone = network(field[1:], mask[1:], jax.tree.map(lambda leaf: leaf[1:], stacked))
    np.testing.assert_allclose(both[1], alone[0], atol=1e-6)
    swapped = network(field[1:], mask[1:], jax.tree.map(lambda leaf: leaf[:1], stacked))
    assert float(jnp.abs(swapped - alone).max()) > 0.01 * float(jnp.abs(alone).max())
    np.testing.assert_allclose(network(4 * field, mask, stacked), 4 * both, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(jnp.sum(both * mask, (1, 2, 3)), 0, atol=1e-3)
    assert float(jnp.abs(jnp.where(mask, 0, both)).max()) == 0


@pytest.mark.slow
def test_opposite_fields_are_one_and_voxels_without_signal_do_not_matter():
    network = Unrolled(SMALL, rngs=nnx.Rngs(0))
    field, mask, stacked, _ = _batch([Geometry(b0_dir=(0.2, 0.3, 0.9))])
    opposite = Geometry(b0_dir=(-0.2, -0.3, -0.9))
    flipped = network(field, mask, jax.tree.map(lambda leaf: leaf[None], opposite))
    out = network(field, mask, stacked)
    np.testing.assert_allclose(flipped, out, atol=1e-6)
    magnitude = jnp.ones_like(field).at[0, 9, 8, 10].set(0)
    spoiled = field.at[0, 9, 8, 10].set(50.0)
    clean = network(field, mask, stacked, magnitude)
    np.testing.assert_allclose(network(spoiled, mask, stacked, magnitude), clean, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_learns_one_example_and_comes_back_from_its_file(tmp_path, shared):
    options = {"iterations": 2, "channels": 8, "memory": 4, "shared": shared}
    network = build("unrolled", options, seed=1)
    field, mask, stacked, chi = _batch([Geometry()], (16, 16, 16))
    target = (chi - jnp.sum(chi * mask) / mask.sum()) * mask
    graph, parameters = nnx.split(network)
    optimiser = optax.adam(3e-3)

    def loss(parameters):
        out = nnx.merge(graph, parameters)(field, mask, stacked)
        return jnp.sqrt(jnp.sum((out - target) ** 2) / jnp.sum(target**2))

    @jax.jit
    def step(carry, _):
        parameters, state = carry
        value, gradient = jax.value_and_grad(loss)(parameters)
        updates, state = optimiser.update(gradient, state)
        return (optax.apply_updates(parameters, updates), state), value

    state = optimiser.init(parameters)
    before = float(loss(parameters))
    for _ in range(60):
        (parameters, state), _ = step((parameters, state), None)
    after = float(loss(parameters))
    assert after < 0.35 * before
    save_weights(tmp_path / "w.safetensors", "unrolled", options, parameters, {"steps": "60"})
    restored, notes = load_network(tmp_path / "w.safetensors")
    assert notes["steps"] == "60"
    assert float(loss(nnx.split(restored)[1])) == pytest.approx(after, rel=1e-5)


@pytest.mark.slow
def test_size_and_memory_saving_do_not_change_the_result():
    assert parameter_count(Unrolled(rngs=nnx.Rngs(0))) == 639_488
    shared, each = (
        parameter_count(Unrolled(UnrolledConfig(iterations=3, shared=s), rngs=nnx.Rngs(0)))
        for s in (True, False)
    )
    strengths = 2 * 4 + 2 * 10
    assert each == 3 * (shared - strengths) + strengths
    field, mask, stacked, _ = _batch([Geometry()])
    plain, lean = (
        Unrolled(UnrolledConfig(2, 8, 4, remat=remat), rngs=nnx.Rngs(0)) for remat in (False, True)
    )

    def total(network):
        graph, parameters = nnx.split(network)
        return jax.grad(lambda p: jnp.sum(nnx.merge(graph, p)(field, mask, stacked) ** 2))(parameters)

    for a, b in zip(jax.tree.leaves(total(plain)), jax.tree.leaves(total(lean)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    narrow = Unrolled(UnrolledConfig(2, 8, 4, mixed_precision=True), rngs=nnx.Rngs(0))
    out = narrow(field, mask, stacked)
    assert out.dtype == field.dtype
    np.testing.assert_allclose(out, plain(field, mask, stacked), atol=0.05 * float(jnp.abs(out).max()))


def test_files_that_are_not_weights_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="cannot be read"):
        load_network(path)
    network = build("unrolled", {"iterations": 1, "channels": 8})
    wrong = {"iterations": 1, "channels": 4}
    save_weights(path, "unrolled", wrong, nnx.split(network)[1], {})
    with pytest.raises(ValueError, match="has shape"):
        load_network(path)
    with pytest.raises(ValueError, match="no option 'depth'"):
        build("unrolled", {"depth": 3})
    with pytest.raises(ValueError, match="unknown; use one of"):
        build("unrolling", {})


@pytest.mark.slow
def test_starts_are_smoother_where_the_field_errs_more():
    """A weight that follows the scan serves a noisy field, and costs a clear one nothing."""
    field, mask, stacked, chi = _batch([Geometry()], (32, 32, 32), 13)
    noise = jnp.asarray(np.random.default_rng(0).standard_normal(field.shape), field.dtype)
    truth, geometry = chi[0] - jnp.sum(chi) / mask.sum(), Geometry()
    network, errors = Unrolled(SMALL, rngs=nnx.Rngs(0)), []
    for part in (0.0, 1.0):
        size = root_mean_square(field, mask)
        noisy = (field + part * size * noise) * mask
        start = network.start(noisy, mask, stacked)
        scale = root_mean_square(noisy, mask) / TYPICAL_FIELD
        fixed = scale * _smooth(noisy[0] / scale, mask[0], geometry, weight=START_WEIGHT)
        errors.append([relative_error(found, truth, mask[0]) for found in (start.smooth[0], fixed)])
    assert errors[0][0] < 1.05 * errors[0][1], errors
    assert errors[1][0] < 0.8 * errors[1][1], errors
