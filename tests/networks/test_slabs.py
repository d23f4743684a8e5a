"""Slab by slab is the whole, to rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import ball, smooth_blobs
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxqsm import Geometry
from jaxqsm.networks import by_slabs, conv3d
from jaxqsm.networks.ours.unrolled import Unrolled, UnrolledConfig


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(total=st.integers(3, 40), length=st.sampled_from([2, 4, 6]))
def test_convolutions_have_no_seams(total, length):
    images = jax.random.normal(jax.random.key(0), (1, total, 4, 5, 2))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 2, 2))
    whole = conv3d(conv3d(images, kernel), kernel)
    out = by_slabs(lambda v: conv3d(conv3d(v, kernel), kernel), images, length=length, halo=2, multiple=2)
    np.testing.assert_allclose(out, whole, atol=1e-4)


def test_too_small_a_halo_would_show():
    images = jax.random.normal(jax.random.key(0), (1, 40, 4, 5, 2))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 2, 2))
    out = by_slabs(lambda v: conv3d(conv3d(v, kernel), kernel), images, length=6, halo=1)
    assert float(jnp.abs(out - conv3d(conv3d(images, kernel), kernel)).max()) > 1


def test_misaligned_slabs_are_refused():
    with pytest.raises(ValueError, match="multiples of 4"):
        by_slabs(lambda v: v, jnp.zeros((1, 40, 1, 1, 1)), length=6, halo=4, multiple=4)


@pytest.mark.slow
@pytest.mark.parametrize("length", [118, 121])
def test_the_network_has_no_seams(length):
    """Also a proof of its reach: with random weights of full size, every voxel is the same."""
    shape = (length, 12, 8)
    mask = jnp.asarray(ball(shape, 55))[None]
    field = jnp.asarray(smooth_blobs(shape, seed=1), jnp.float32)[None] * mask
    geometry = jax.tree.map(lambda leaf: leaf[None], Geometry((1.0, 1.0, 2.0), (0.0, 0.6, 0.8)))
    whole, slabs = (
        Unrolled(UnrolledConfig(2, 8, 4, slab=slab), rngs=nnx.Rngs(0))(field, mask, geometry)
        for slab in (128, 32)
    )
    np.testing.assert_allclose(slabs, whole, atol=1e-5 * float(jnp.abs(whole).max()))
