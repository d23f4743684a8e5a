"""Background removal that knows χ: the local field comes out whole, whatever the geometry."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import BRAIN_SHAPE as SHAPE
from helpers import assert_gradient, ball, brain_beside_strong_sources, relative_error, smooth_blobs

from jaxqsm import Geometry
from jaxqsm.background import resharp, residual_resharp
from jaxqsm.physics import dipole_field

GEOMETRY = Geometry((1.0, 1.1, 1.4), (0.3, 0.4, 0.85))


@pytest.fixture(scope="module")
def fields():
    return brain_beside_strong_sources(GEOMETRY)


def _error(found, valid, chi):
    return relative_error(found, dipole_field(chi * valid, GEOMETRY, kernel="integrated"), valid)


def test_keeps_more_of_the_local_field_than_the_filter_alone(fields):
    chi, total, mask = fields
    found, valid = residual_resharp(total, mask, GEOMETRY)
    alone, same = resharp(total, mask, GEOMETRY, radius=3.0)
    np.testing.assert_array_equal(valid, same)
    assert _error(found, valid, chi) < 0.6 * _error(alone, valid, chi)
    assert (np.asarray(found)[~np.asarray(valid)] == 0).all()
    for wrong in (
        Geometry(GEOMETRY.voxel_size, (0.3, -0.4, 0.85)),
        Geometry((1.4, 1.1, 1.0), GEOMETRY.b0_dir),
    ):
        assert _error(residual_resharp(total, mask, wrong)[0], valid, chi) > 1.3 * _error(found, valid, chi)


def test_neither_what_lies_outside_nor_voxels_without_signal_matter(fields):
    chi, total, mask = fields
    found, valid = residual_resharp(total, mask, GEOMETRY)
    again, _ = residual_resharp(jnp.where(mask, total, 70.0), mask, GEOMETRY)
    np.testing.assert_allclose(again, found, atol=1e-5)
    lost = mask & jnp.asarray(np.random.default_rng(0).random(SHAPE) < 0.02)
    magnitude = jnp.where(lost, 0.0, 1.0)
    spoiled, _ = residual_resharp(jnp.where(lost, 3.0, total), mask, GEOMETRY, magnitude=magnitude)
    assert _error(spoiled, valid, chi) < _error(found, valid, chi) + 0.05


def test_of_the_right_chi_it_is_that_field(fields):
    chi, total, mask = fields
    found, valid = residual_resharp(total, mask, GEOMETRY, start=chi)
    assert _error(found, valid, chi) < 0.1


def test_gradient(x64):
    shape = (14, 14, 12)
    mask = jnp.asarray(ball(shape, 5))
    field = jnp.asarray(np.random.default_rng(0).standard_normal(shape))
    chi = jnp.asarray(0.1 * smooth_blobs(shape))

    def loss(given):
        field, chi, b0_dir = given
        found, _ = residual_resharp(
            field, mask, Geometry(b0_dir=b0_dir), start=chi, radius=2.0, max_iterations=200
        )
        return jnp.sum(found**2)

    assert_gradient(lambda f: loss((f, chi, jnp.array([0.2, 0.3, 0.9]))), field, rtol=1e-4)
    assert_gradient(lambda c: loss((field, c, jnp.array([0.2, 0.3, 0.9]))), chi, rtol=1e-4)
    assert_gradient(lambda b: loss((field, chi, b)), jnp.array([0.2, 0.3, 0.9]), rtol=1e-4)
