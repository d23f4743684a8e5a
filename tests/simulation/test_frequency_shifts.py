"""Shifts that are no dipole field of an isotropic χ: their size, sign and dependence on direction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ball, relative_error

from jaxqsm import Geometry
from jaxqsm.physics import dipole_field
from jaxqsm.simulation import ShiftStrengths, frequency_shifts

SHAPE = (32, 32, 32)
WHITE = jnp.asarray(ball(SHAPE, 8), jnp.float32)
NONE = jnp.zeros(SHAPE)


def _fibres(direction):
    return jnp.asarray(direction, jnp.float32)[:, None, None, None] * (WHITE > 0)


def _strengths(**given):
    return ShiftStrengths(**{name: jnp.asarray(given.get(name, 0.0)) for name in ShiftStrengths._fields})


@pytest.mark.parametrize("degrees", [0, 30, 90])
def test_microstructure_goes_by_the_square_of_the_sine(degrees):
    angle = np.deg2rad(degrees)
    b0_dir = (np.sin(angle), 0.0, np.cos(angle))
    shift = frequency_shifts(
        WHITE, NONE, _fibres((0, 0, 1)), Geometry(b0_dir=b0_dir), _strengths(microstructure=0.01)
    )
    np.testing.assert_allclose(shift, -0.01 * np.sin(angle) ** 2 * WHITE, atol=1e-7)


def test_exchange_and_flow_know_no_direction():
    vein = jnp.zeros(SHAPE).at[3, 3].set(1.0)
    strengths = _strengths(exchange=-0.004, flow=0.02)
    for b0_dir in ((0, 0, 1), (0.6, 0, 0.8)):
        shift = frequency_shifts(WHITE, vein, _fibres((1, 0, 0)), Geometry(b0_dir=b0_dir), strengths)
        np.testing.assert_allclose(shift, -0.004 * WHITE + 0.02 * vein, atol=1e-7)


@pytest.mark.parametrize(("direction", "factor"), [((0, 0, 1), 2 / 3), ((1, 0, 0), -1 / 3)])
def test_anisotropy_is_the_dipole_field_of_what_fibres_add_to_the_mean(direction, factor):
    """Along the field χ is 2/3 of the anisotropy above its mean, across it 1/3 below."""
    geometry = Geometry((1.0, 1.2, 0.9))
    shift = frequency_shifts(WHITE, NONE, _fibres(direction), geometry, _strengths(anisotropy=0.015))
    expected = dipole_field(factor * 0.015 * WHITE, geometry, kernel="kspace")
    assert relative_error(shift, expected) < 1e-4


def test_strengths_have_gradients():
    def size(strengths):
        return jnp.sum(frequency_shifts(WHITE, WHITE, _fibres((1, 0, 0)), Geometry(), strengths) ** 2)

    strengths = _strengths(microstructure=0.01, exchange=0.003, anisotropy=0.015, flow=0.02)
    for slope in jax.grad(size)(strengths):
        assert np.isfinite(slope)
        assert slope != 0
