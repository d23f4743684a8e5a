"""The learned background removal: harmonic whatever the network says, and better than classical methods."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import ball, relative_error, smooth_blobs

from jaxqsm import Geometry
from jaxqsm.background import pdf
from jaxqsm.evaluation import make_trial
from jaxqsm.networks import build, save_weights
from jaxqsm.operators import erode, laplacian
from jaxqsm.phantoms import head
from jaxqsm.physics import dipole_field
from jaxqsm.pretrained import learned_background
from jaxqsm.simulation import Protocol

SHAPE = (26, 24, 22)
GEOMETRY = Geometry((1.0, 1.3, 2.0), (0.0, 0.6, 0.8))


@pytest.fixture(scope="module")
def scan():
    """Blobs in a ball, and a strong source beyond it."""
    mask = jnp.asarray(ball(SHAPE, 9))
    chi = 0.05 * jnp.asarray(smooth_blobs(SHAPE, seed=1), jnp.float32) * mask
    outside = jnp.zeros(SHAPE).at[2:5, 10:14, 3:6].set(5.0)
    local, background = (dipole_field(v, GEOMETRY) for v in (chi, outside))
    return (local + background) * mask, local * mask, mask


@pytest.fixture(scope="module")
def any_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "any.safetensors"
    options = {"channels": 4}
    network = build("harmonic_correction", options, seed=3)
    save_weights(path, "harmonic_correction", options, nnx.state(network), {"task": "background"})
    return str(path)


def test_what_is_removed_is_harmonic_whatever_the_weights(scan, any_weights):
    total, _, mask = scan
    local, valid = learned_background(total, mask, GEOMETRY, checkpoint=any_weights)
    assert float(jnp.abs(jnp.where(valid, 0, local)).max()) == 0
    assert bool((mask | ~valid).all())
    assert 0.2 < float(valid.sum() / mask.sum()) < 1
    removed = np.asarray(total - local)
    inner = np.asarray(valid)
    for axis in range(3):
        inner = inner & np.roll(inner, 1, axis) & np.roll(inner, -1, axis)
    curvature = np.asarray(laplacian(jnp.asarray(removed), GEOMETRY))[inner]
    assert np.abs(curvature).max() < 0.01 * np.abs(np.asarray(laplacian(local, GEOMETRY))[inner]).max()


def test_scales_and_is_differentiable(scan, any_weights):
    total, _, mask = scan
    weight = jnp.asarray(np.random.default_rng(0).standard_normal(SHAPE), jnp.float32)

    def loss(field):
        return jnp.sum(weight * learned_background(field, mask, GEOMETRY, checkpoint=any_weights)[0])

    value, gradient = jax.value_and_grad(loss)(total)
    # Local field scales with the total one: Euler's identity.
    assert float(loss(3 * total)) == pytest.approx(3 * float(value), rel=3e-3)
    assert float(jnp.vdot(gradient, total)) == pytest.approx(float(value), rel=3e-2)


@pytest.mark.slow
def test_better_than_its_starts_where_a_head_is_tilted():
    """By 45°, with veins of the dura on the border of the mask."""
    protocol = Protocol(snr=200.0, oversampling=1, voxel_size=(2.0, 2.0, 2.0), b0_dir=(0.0, 0.707, 0.707))
    scan = protocol.scan(head(protocol.phantom_voxel_size, field_strength=3.0), key=jax.random.key(0))
    trial = make_trial(scan, protocol, stage="single_step", key=jax.random.key(1))
    inside = erode(trial.mask, 2.0, trial.geometry)
    truth = dipole_field(trial.truth * inside, trial.geometry)
    core = erode(trial.mask, 6.0, trial.geometry)

    def error(method, mask):
        field, _ = method(trial.field * mask, mask, trial.geometry, magnitude=trial.magnitude)
        return relative_error(field, truth, core)

    ours = error(learned_background, trial.mask)
    assert ours < 0.95 * error(pdf, inside)
    assert ours < 0.3


def test_weights_of_an_inversion_are_refused(scan):
    total, _, mask = scan
    with pytest.raises(ValueError, match="was trained for inversion"):
        learned_background(total, mask, GEOMETRY, checkpoint="learned")
