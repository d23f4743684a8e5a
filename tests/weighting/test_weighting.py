import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_gradient, ball

from jaxqsm import Acquisition, Geometry
from jaxqsm.phantoms import cylinder
from jaxqsm.physics import dipole_field, wrap_phase
from jaxqsm.weighting import clear_swi, minimum_intensity, swi, true_swi

SHAPE = (48, 48, 32)
GEOMETRY = Geometry((1.0, 1.0, 1.5))


@pytest.fixture(scope="module")
def vein():
    """A vein along the field, in a slowly varying, wrapping phase."""
    chi = cylinder(SHAPE, GEOMETRY, axis=(0.0, 0.0, 1.0), radius=1.6, chi=0.3)
    acquisition = Acquisition((0.020,), 3.0)
    local = dipole_field(chi, GEOMETRY) * acquisition.phase_per_ppm[0]
    x = jnp.arange(SHAPE[0])[:, None, None] * jnp.ones(SHAPE)
    return chi, local, wrap_phase(local + 0.15 * x)


def test_swi_darkens_veins_alone_and_does_not_see_wraps(vein):
    chi, _, wrapped = vein
    found = np.asarray(swi(wrapped, 100 * jnp.ones(SHAPE), GEOMETRY))
    inner = np.asarray(jnp.asarray(ball(SHAPE, 14)))
    inside, far = inner & (np.asarray(chi) > 0.29), inner & (np.asarray(chi) == 0)
    assert found[inside].mean() < 60
    assert np.median(found[far]) > 90
    # A paramagnetic vein has positive phase along the field; the other sign would leave it bright.
    assert np.asarray(swi(-wrapped, 100 * jnp.ones(SHAPE), GEOMETRY))[inside].mean() > 95


def test_clear_swi_darkens_veins_evens_brightness_and_joins_echoes(vein):
    chi, local, _ = vein
    acquisition = Acquisition((0.010, 0.020), 3.0)
    x = jnp.arange(SHAPE[0])[:, None, None] * jnp.ones(SHAPE)
    mask = jnp.asarray(ball(SHAPE, 14))
    # Slow phase that the Gaussian takes off, and a coil that sees one side four times as well.
    phase = (local + 0.15 * x)[..., None] * jnp.array([0.5, 1.0])
    magnitude = (100 * (1 + 3 * x / SHAPE[0]))[..., None] * jnp.array([1.0, 0.7])
    found = np.asarray(clear_swi(phase, magnitude, mask, GEOMETRY, acquisition))
    inner = np.asarray(jnp.asarray(ball(SHAPE, 10)))
    inside, far = inner & (np.asarray(chi) > 0.29), inner & (np.asarray(chi) == 0)
    assert found[inside].mean() < 0.6 * np.median(found[far])
    assert np.median(found[far & np.asarray(x > 28)]) == pytest.approx(
        np.median(found[far & np.asarray(x < 20)]), rel=0.15
    )
    assert (found[~np.asarray(mask)] == 0).all()
    # The other sign of phase would brighten the vein.
    opposite = np.asarray(clear_swi(-phase, magnitude, mask, GEOMETRY, acquisition))
    assert opposite[inside].mean() > 0.9 * np.median(opposite[far])


def test_true_swi_is_the_published_mask():
    chi = jnp.array([[[-0.1, 0.0, 0.225, 0.45, 1.0]]])
    np.testing.assert_allclose(true_swi(chi, jnp.full(chi.shape, 8.0)), [[[8, 8, 2, 0, 0]]], atol=1e-5)


def test_minimum_intensity_is_that_of_a_slab_in_mm():
    image = jnp.ones((4, 4, 21)).at[2, 2, 10].set(-3.0)
    for voxel, reach in ((1.0, 2), (2.5, 1)):
        found = np.asarray(
            minimum_intensity(image, Geometry((1.0, 1.0, voxel)), thickness=5.0 if voxel == 1 else 7.5)
        )
        dark = np.flatnonzero(found[2, 2] == -3)
        np.testing.assert_array_equal(dark, np.arange(10 - reach, 10 + reach + 1))
        assert (found[0] == 1).all()


@pytest.mark.parametrize("slices", [1, 2, 3, 7, 8, 16, 31, 60])
def test_minimum_intensity_is_that_of_a_moving_window_under_jit_too(slices):
    image = jnp.asarray(np.random.default_rng(0).normal(size=(16, 3, 2)), jnp.float32)
    size = jnp.array([2.0, 1.0, 1.0])
    project = jax.jit(lambda s: minimum_intensity(image, Geometry(s), thickness=2.0 * slices, axis=0))
    width = min(slices, 31)
    expected = [
        np.asarray(image)[max(0, i - (width - 1) // 2) : i + width // 2 + 1].min(axis=0) for i in range(16)
    ]
    np.testing.assert_array_equal(project(size), expected)


def test_gradients(x64):
    random = np.random.default_rng(0)
    phase, magnitude = (
        jnp.asarray(random.normal(0, 0.5, (6, 5, 4))),
        jnp.asarray(random.uniform(1, 2, (6, 5, 4))),
    )
    assert_gradient(lambda p: jnp.sum(swi(p, magnitude, Geometry()) ** 2), phase, rtol=1e-4)
    assert_gradient(lambda c: jnp.sum(true_swi(c, magnitude) ** 2), 0.2 + 0.05 * phase, rtol=1e-5)
    empty = jax.grad(lambda m: jnp.sum(swi(phase, m, Geometry())))(jnp.zeros((6, 5, 4)))
    assert np.isfinite(np.asarray(empty)).all()
