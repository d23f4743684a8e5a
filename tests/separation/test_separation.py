import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_gradient, ball, relative_error, smooth_blobs

from jaxqsm import Geometry
from jaxqsm.physics import dipole_field
from jaxqsm.separation import chi_separation

SHAPE = (36, 34, 32)
GEOMETRY = Geometry((1.0, 1.1, 1.3), (0.2, 0.3, 0.93))


@pytest.fixture(scope="module")
def brain():
    """Iron in two nuclei, myelin in a band, and both in one place, where their fields cancel."""
    mask = ball(SHAPE, 12)
    positive, negative = 0.02 * np.ones(SHAPE), 0.02 * np.ones(SHAPE)
    positive[12:17, 12:17, 12:17] += 0.1
    positive[20:24, 18:23, 14:20] += 0.06
    negative[14:24, 20:24, 10:22] += 0.06
    positive, negative = (jnp.asarray(v * mask, jnp.float32) for v in (positive, negative))
    noise = jnp.asarray(np.random.default_rng(0).normal(0, 1e-3, SHAPE), jnp.float32)
    field = dipole_field(positive - negative, GEOMETRY) + noise
    return positive, negative, field, 137.0 * (positive + negative), jnp.asarray(mask)


@pytest.fixture(scope="module")
def parts(brain):
    """χ⁺ and χ⁻ as they are found."""
    _, _, field, r2prime, mask = brain
    return chi_separation(field, r2prime, mask, GEOMETRY)


def test_separates_iron_and_myelin(brain, parts):
    positive, negative, _, _, mask = brain
    p, n = parts
    assert relative_error(p, positive, mask) < 0.15
    assert relative_error(n, -negative, mask) < 0.15
    assert (np.asarray(p) >= 0).all()
    assert (np.asarray(n) <= 0).all()
    # In the place of both, χ itself shows next to nothing.
    both = np.zeros(SHAPE, bool)
    both[20:24, 20:23, 14:20] = True
    assert np.asarray(p)[both].mean() == pytest.approx(0.08, rel=0.15)
    assert np.asarray(n)[both].mean() == pytest.approx(-0.08, rel=0.15)


def test_knows_direction_sign_and_relaxivity(brain, parts):
    positive, _, field, r2prime, mask = brain
    right = relative_error(parts[0], positive, mask)
    turned = Geometry(GEOMETRY.voxel_size, (0.93, 0.3, -0.2))
    for wrong in (
        chi_separation(field, r2prime, mask, turned),
        chi_separation(-field, r2prime, mask, GEOMETRY),
        chi_separation(field, r2prime, mask, GEOMETRY, relaxivity=137.0 * 7 / 3),
    ):
        assert relative_error(wrong[0], positive, mask) > right + 0.1


def test_a_flipped_field_exchanges_the_two(brain, parts):
    _, _, field, r2prime, mask = brain
    p, n = parts
    q, m = chi_separation(-field, r2prime, mask, GEOMETRY)
    np.testing.assert_allclose(q, -n, atol=2e-4)
    np.testing.assert_allclose(m, -p, atol=2e-4)


def test_gradients(x64):
    shape = (6, 6, 5)
    mask = jnp.asarray(ball(shape, 2))
    field = jnp.asarray(0.1 * smooth_blobs(shape))
    r2prime = jnp.asarray(np.random.default_rng(0).uniform(5, 20, shape))
    weights = jax.random.normal(jax.random.key(0), shape)

    def loss(f, r):
        p, n = chi_separation(f, r, mask, Geometry(), weight=2e-3, tolerance=1e-10, max_iterations=8000)
        return jnp.sum(weights * (p - 2 * n))

    assert_gradient(lambda f: loss(f, r2prime), field, rtol=2e-3)
    assert_gradient(lambda r: loss(field, r), r2prime, rtol=2e-3)
