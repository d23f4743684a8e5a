import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxqsm import Geometry
from jaxqsm.phantoms import random_field, random_shapes
from jaxqsm.phantoms.random_shapes import _rotation

SHAPE = (40, 40, 40)


def test_one_body_has_one_value_and_blends_only_at_its_surface():
    """A body cut by no border: whole voxels carry its χ; the partly filled ones lie at its surface."""
    chi = np.stack([
        random_shapes(SHAPE, Geometry(), count=1, smallest=6.0, largest=9.0, key=jax.random.key(seed))
        for seed in range(12)
    ])  # fmt: skip
    for image in chi:
        value = image.flat[np.abs(image).argmax()]
        filled = image / value
        assert ((filled >= 0) & (filled <= 1 + 1e-6)).all()
        assert (filled > 0.999).sum() > 0.5 * filled.sum()


def test_the_same_bodies_on_any_grid():
    """Twice as fine along z: the same bodies, so the same mean of χ in blocks of two."""
    key, options = jax.random.key(3), {"count": 30, "smallest": 3.0}
    coarse = random_shapes(SHAPE, Geometry((1.0, 1.0, 1.0)), **options, key=key)
    fine = random_shapes((40, 40, 80), Geometry((1.0, 1.0, 0.5)), **options, key=key)
    blocks = np.asarray(fine).reshape(40, 40, 40, 2).mean(axis=-1)
    assert np.corrcoef(np.asarray(coarse).ravel(), blocks.ravel())[0, 1] > 0.98


def test_keys_batches_and_the_spread_of_chi():
    keys = jax.random.split(jax.random.key(0), 8)
    batch = jax.vmap(lambda k: random_shapes(SHAPE, Geometry(), chi_deviation=0.2, key=k))(keys)
    np.testing.assert_allclose(
        batch[2], random_shapes(SHAPE, Geometry(), chi_deviation=0.2, key=keys[2]), atol=1e-6
    )
    assert not np.allclose(batch[0], batch[1])
    assert 0.08 < float(batch.std()) < 0.25
    assert jnp.isfinite(batch).all()
    half = random_shapes(SHAPE, Geometry(), chi_deviation=0.1, key=keys[2])
    np.testing.assert_allclose(2 * half, batch[2], atol=1e-6)


def test_rotations_are_rotations_and_favour_no_direction():
    turns = jax.vmap(_rotation)(jax.random.split(jax.random.key(1), 4000))
    np.testing.assert_allclose(turns @ jnp.swapaxes(turns, 1, 2), np.tile(np.eye(3), (4000, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.det(turns), 1, atol=1e-5)
    np.testing.assert_allclose(turns.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose((turns**2).mean(axis=0), 1 / 3, atol=0.03)


def test_random_field_has_its_deviation_and_smoothness_in_millimetres():
    """Gaussian-filtered white noise correlates as exp(−d²/4σ²), along every axis, whatever the voxel."""
    geometry = Geometry((1.0, 2.0, 1.5))
    image = np.asarray(random_field((96, 48, 64), geometry, smoothness=3.0, key=jax.random.key(0)))
    assert image.std() == pytest.approx(0.1, rel=1e-4)
    assert image.mean() == pytest.approx(0, abs=1e-5)
    for axis, size in enumerate((1.0, 2.0, 1.5)):
        for steps in (1, 2):
            found = np.mean(image * np.roll(image, steps, axis)) / image.var()
            assert found == pytest.approx(np.exp(-((steps * size) ** 2) / (4 * 3.0**2)), abs=0.03)
