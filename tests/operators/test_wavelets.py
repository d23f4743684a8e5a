"""Haar wavelets are orthogonal, local, and blind to what is constant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxqsm.operators import haar, haar_inverse

SHAPE = (16, 8, 24)


@pytest.mark.parametrize("levels", [1, 3])
def test_orthogonal(levels):
    image = jax.random.normal(jax.random.key(0), SHAPE)
    means, details = haar(image, levels)
    assert len(details) == levels
    assert means.size + sum(d.size for d in details) == image.size
    np.testing.assert_allclose(haar_inverse(means, details), image, atol=1e-5)
    energy = jnp.sum(means**2) + sum(jnp.sum(d**2) for d in details)
    assert float(energy) == pytest.approx(float(jnp.sum(image**2)), rel=1e-5)


def test_bands_are_differences_of_pairs():
    """An edge along one axis shows in one subband of one level; a constant in none."""
    means, details = haar(jnp.full(SHAPE, 3.0), 2)
    np.testing.assert_allclose(means, 3 * 8.0, rtol=1e-6)  # √8 a level
    assert all(float(jnp.abs(d).max()) < 1e-6 for d in details)
    edge = jnp.broadcast_to(jnp.arange(SHAPE[1])[:, None] % 2, SHAPE).astype(float)
    _, (finest, coarser) = haar(edge, 2)
    shown = [float(jnp.abs(band).max()) > 1e-6 for band in finest]
    assert sum(shown) == 1
    np.testing.assert_allclose(finest[shown.index(True)], -(8**0.5) / 2, rtol=1e-6)
    assert float(jnp.abs(coarser).max()) < 1e-6
