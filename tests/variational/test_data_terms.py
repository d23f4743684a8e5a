"""Data terms against a search on a fine grid, and the fast sine that they use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxqsm import Acquisition
from jaxqsm.variational import data_terms
from jaxqsm.variational.data_terms import sine


@pytest.mark.parametrize("name", ["linear", "nonlinear", "absolute", "huber"])
def test_data_terms_are_proximal_maps(name):
    """Against a search on a fine grid, voxel by voxel."""
    rng = np.random.default_rng(0)
    field, v, weights = rng.normal(0, 0.1, 50), rng.normal(0, 0.1, 50), rng.uniform(0, 3, 50)
    grid = np.linspace(-1, 1, 200_001)[:, None]
    gap = np.abs(grid - field)
    terms = {
        "linear": 0.5 * weights * (grid - field) ** 2,
        "nonlinear": 0.5 * weights * np.abs(np.exp(16j * grid) - np.exp(16j * field)) ** 2 / 16**2,
        "absolute": weights * gap,
        "huber": weights * np.where(gap < 0.05, 0.5 * gap**2, 0.05 * gap - 0.5 * 0.05**2),
    }
    best = grid[np.argmin(terms[name] + 0.5 * (grid - v) ** 2, axis=0), 0]
    options = {"nonlinear": {"phase_scale": 16.0}, "huber": {"huber_threshold": 0.05}}.get(name, {})
    found = getattr(data_terms, name)(jnp.asarray(field), jnp.asarray(weights), **options)(jnp.asarray(v))
    near = np.abs(field - v) < np.pi / 16 / 2  # beyond, Newton's few steps are on their way only
    assert near.sum() > 20
    np.testing.assert_allclose(np.asarray(found)[near], best[near], atol=1e-4)


def test_fast_sine_is_the_sine():
    angle = jnp.linspace(-40, 40, 100_001, dtype=jnp.float32)
    np.testing.assert_allclose(sine(angle), np.sin(np.asarray(angle, float)), atol=4e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(sine))(angle), np.cos(np.asarray(angle, float)), atol=4e-6)


def test_the_phase_data_term_has_the_scale_of_the_acquisition():
    """An unwrapping error of 2π between the first two echoes leaves no misfit; without times it does."""
    acquisition = Acquisition((0.004, 0.012, 0.020), 3.0)
    period = 2 * np.pi / float(acquisition.phase_scale)
    np.testing.assert_allclose(period, 1 / (0.008 * 42.577478518 * 3), rtol=1e-5)
    field, weights = jnp.array([0.01]), jnp.array([1.0])
    wrong = field + period
    np.testing.assert_allclose(data_terms.of_phase(field, weights, acquisition)(wrong), wrong, atol=1e-5)
    pulled = data_terms.of_phase(field, weights, None)(wrong)
    np.testing.assert_allclose(pulled, (field + wrong) / 2, atol=1e-6)
