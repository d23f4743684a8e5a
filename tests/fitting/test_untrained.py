"""Fits without training data: near the truth by the physics of the scan alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import ball, relative_error, smooth_blobs

from jaxqsm import Acquisition, Geometry
from jaxqsm.fitting import deep_image_prior, fine, implicit_representation, zero_shot
from jaxqsm.fitting.implicit_representation import represent
from jaxqsm.inversion import tkd
from jaxqsm.networks import build, flat_weights, save_weights
from jaxqsm.physics import dipole_field
from jaxqsm.variational.common import referenced

SHAPE = (28, 26, 24)
GEOMETRY = Geometry((1.0, 1.1, 1.4), (0.3, 0.4, 0.85))
METHODS = {
    "deep_image_prior": lambda *a, **k: deep_image_prior(*a, channels=16, max_iterations=150, **k),
    "implicit_representation": lambda *a, **k: implicit_representation(*a, max_iterations=150, **k),
}


@pytest.fixture(scope="module")
def truth():
    mask = ball(SHAPE, 10)
    chi = 0.05 * smooth_blobs(SHAPE)
    chi[9:14, 9:14, 9:13] += 0.15
    chi[15:19, 11:16, 10:15] -= 0.1
    mask = jnp.asarray(mask)
    chi = referenced(jnp.asarray(chi, jnp.float32) * mask, mask)
    noise = 0.002 * jax.random.normal(jax.random.key(0), SHAPE)
    return chi, (dipole_field(chi, GEOMETRY, kernel="integrated") + noise) * mask, mask


@pytest.mark.parametrize(
    "name", [pytest.param("deep_image_prior", marks=pytest.mark.slow), "implicit_representation"]
)
def test_recovers_the_truth_and_knows_the_physics(truth, name):
    chi, field, mask = truth
    found = METHODS[name](field, mask, GEOMETRY)
    right = relative_error(found, chi, mask)
    assert right < 0.3 < relative_error(tkd(field, mask, GEOMETRY), chi, mask)
    assert abs(float(jnp.mean(found[mask]))) < 1e-5
    assert float(jnp.abs(jnp.where(mask, 0, found)).max()) == 0
    turned = Geometry(GEOMETRY.voxel_size, (0.3, -0.4, 0.85))
    assert relative_error(METHODS[name](field, mask, turned), chi, mask) > right + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_stops_before_it_learns_noise(truth, name):
    """Twice the steps do not make it worse: those that follow the best one do not count."""
    chi, field, mask = truth
    noisy = field + 0.01 * mask * jax.random.normal(jax.random.key(1), SHAPE)
    solve = {"deep_image_prior": deep_image_prior, "implicit_representation": implicit_representation}[name]
    options = {"weight": 1e-4} | ({"channels": 16} if name == "deep_image_prior" else {})
    few, many = (
        relative_error(solve(noisy, mask, GEOMETRY, max_iterations=n, **options), chi, mask)
        for n in (150, 300)
    )
    assert many < few + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_scales_and_depends_on_its_key_alone(truth, name):
    _, field, mask = truth
    once = METHODS[name](field, mask, GEOMETRY)
    assert relative_error(METHODS[name](4 * field, mask, GEOMETRY), 4 * once, mask) < 0.05
    np.testing.assert_array_equal(METHODS[name](field, mask, GEOMETRY), once)
    other = METHODS[name](field, mask, GEOMETRY, key=jax.random.key(7))
    assert 0 < relative_error(other, once, mask) < 0.3


@pytest.mark.slow
def test_the_function_has_values_between_voxels(truth):
    chi, field, mask = truth
    function = represent(field, mask, GEOMETRY)
    x, y, z = (jnp.arange(n) * float(d) for n, d in zip(SHAPE, GEOMETRY.voxel_size, strict=True))
    at_voxels = function(x, y, z)
    assert relative_error(referenced(at_voxels, mask), chi, mask) < 0.35
    between = function(0.5 * (x[1:] + x[:-1]), y, z)
    low, high = jnp.minimum(at_voxels[1:], at_voxels[:-1]), jnp.maximum(at_voxels[1:], at_voxels[:-1])
    size = float(jnp.abs(at_voxels[mask]).max())
    assert float(jnp.mean((between > low - 0.1 * size) & (between < high + 0.1 * size))) > 0.99


@pytest.mark.slow
def test_fine_moves_an_untrained_network_towards_the_field(truth, tmp_path):
    """And only its last layer, or all of it."""
    chi, field, mask = truth
    network = build("unrolled", {"channels": 8}, seed=0)
    kernel = network.images[0].leave.kernel
    kernel.set_value(kernel[...] + 0.3 * jax.random.normal(jax.random.key(0), kernel.shape))
    path = tmp_path / "weights.safetensors"
    save_weights(path, "unrolled", {"channels": 8}, nnx.state(network), {"task": "inversion"})
    assert flat_weights(nnx.state(network))
    network.eval()
    batch = jax.tree.map(lambda leaf: leaf[None], (field, mask, GEOMETRY))
    before = relative_error(network(*batch)[0], chi, mask)
    last = relative_error(fine(field, mask, GEOMETRY, checkpoint=str(path), learning_rate=1e-2), chi, mask)
    whole = fine(field, mask, GEOMETRY, checkpoint=str(path), learning_rate=1e-2, whole=True)
    assert last < 0.8 * before
    assert relative_error(whole, chi, mask) < 0.8 * before


@pytest.mark.slow
def test_zero_shot_learns_a_bad_network_from_the_scan_alone(truth, tmp_path):
    chi, field, mask = truth
    network = build("unrolled", {"channels": 8}, seed=0)
    kernel = network.images[0].leave.kernel
    kernel.set_value(kernel[...] + 0.3 * jax.random.normal(jax.random.key(0), kernel.shape))
    path = tmp_path / "weights.safetensors"
    save_weights(path, "unrolled", {"channels": 8}, nnx.state(network), {"task": "inversion"})
    network.eval()
    before = relative_error(network(*jax.tree.map(lambda v: v[None], (field, mask, GEOMETRY)))[0], chi, mask)
    found = zero_shot(field, mask, GEOMETRY, checkpoint=str(path), learning_rate=1e-2, max_iterations=60)
    assert relative_error(found, chi, mask) < 0.8 * before
    assert abs(float(jnp.mean(found[mask]))) < 1e-5


@pytest.mark.slow
def test_whole_turns_do_no_harm_where_the_fit_is_to_the_phase(truth):
    chi, field, mask = truth
    turn = 0.15  # ppm
    period = 1 / (turn * Acquisition((0.01,), 3.0).hertz_per_ppm)
    wrong = field.at[8:14, 12:18, 8:14].add(turn) * mask
    found, spoiled = (
        deep_image_prior(wrong, mask, GEOMETRY, channels=16, max_iterations=200, acquisition=acquisition)
        for acquisition in (Acquisition((period,), 3.0), None)
    )
    assert relative_error(found, chi, mask) < 0.4 < 0.7 * relative_error(spoiled, chi, mask)


def test_fine_says_what_it_cannot_move(truth):
    _, field, mask = truth
    with pytest.raises(ValueError, match="no such file"):
        fine(field, mask, GEOMETRY, checkpoint="nothing")
    with pytest.raises(ValueError, match="trained for background"):
        fine(field, mask, GEOMETRY, checkpoint="learned_background")
