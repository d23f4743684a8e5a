"""Blocks of voxels: means are weighted, and what is linear survives there and back."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ball

from jaxqsm.operators import block_interpolate, block_mean

SHAPE = (13, 12, 10)
FACTORS = (2, 3, 1)


def test_mean_of_a_block_is_weighted_and_fills_up_the_far_end():
    rng = np.random.default_rng(0)
    image, weights = rng.standard_normal(SHAPE), rng.uniform(0, 1, SHAPE)
    weights[2:4, 3:6, 4] = 0
    mean, weight = block_mean(jnp.asarray(image), jnp.asarray(weights), FACTORS)
    assert mean.shape == (7, 4, 10)
    block = slice(4, 6), slice(6, 9), 7
    assert float(mean[2, 2, 7]) == pytest.approx(np.average(image[block], weights=weights[block]), rel=1e-5)
    assert float(weight[2, 2, 7]) == pytest.approx(weights[block].mean(), rel=1e-5)
    assert float(mean[1, 1, 4]) == 0
    assert float(weight[1, 1, 4]) == 0
    last = slice(12, 13), slice(0, 3), 0  # the other half of the block is beyond the array
    assert float(weight[6, 0, 0]) == pytest.approx(weights[last].mean() / 2, rel=1e-5)


def test_a_slope_comes_back_between_centres_of_blocks():
    x, y, z = np.indices(SHAPE)
    slope = jnp.asarray(0.3 * x - 0.2 * y + 0.5 * z)
    mean, weight = block_mean(slope, jnp.ones(SHAPE), FACTORS)
    back = block_interpolate(mean, (weight > 0.9).astype(float), FACTORS, SHAPE)
    inner = slice(1, 11), slice(1, 11)
    np.testing.assert_allclose(back[inner], slope[inner], atol=1e-4)


def test_blocks_without_weight_take_no_part():
    inside = ball(SHAPE, 4)
    image = jnp.where(inside, 2.0, jnp.nan)
    mean, weight = block_mean(jnp.where(inside, image, 0), jnp.asarray(inside, float), FACTORS)
    back = block_interpolate(mean, (weight > 0).astype(float), FACTORS, SHAPE)
    np.testing.assert_allclose(back[inside], 2.0, rtol=1e-5)
    assert float(back[0, 0, 0]) == 0
