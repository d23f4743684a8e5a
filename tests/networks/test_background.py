"""The learned background removal: harmonic whatever the network says, and better than classical methods."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import ball, smooth_blobs

from jaxqsm import Geometry
from jaxqsm.networks import build, learned_background, save_weights
from jaxqsm.operators import laplacian
from jaxqsm.physics import dipole_field

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
    local, valid = learned_background(total, mask, GEOMETRY, weights=any_weights)
    assert float(jnp.abs(jnp.where(valid, 0, local)).max()) == 0
    assert bool((mask | ~valid).all())
    assert 0.5 < float(valid.sum() / mask.sum()) < 1
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
        return jnp.sum(weight * learned_background(field, mask, GEOMETRY, weights=any_weights)[0])

    value, gradient = jax.value_and_grad(loss)(total)
    # Local field scales with the total one: Euler's identity.
    assert float(loss(3 * total)) == pytest.approx(3 * float(value), rel=1e-3)
    assert float(jnp.vdot(gradient, total)) == pytest.approx(float(value), rel=3e-2)


def test_weights_of_an_inversion_are_refused(scan):
    total, _, mask = scan
    with pytest.raises(ValueError, match="was trained for inversion"):
        learned_background(total, mask, GEOMETRY, weights="learned")
