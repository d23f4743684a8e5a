"""The receiver's frequency, and signs that alternate, are found whatever the field."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ball, smooth_blobs

from jaxqsm import Acquisition
from jaxqsm.field_mapping import alternating_sign, centre_frequency, further_turns, without_alternation

SHAPE = (14, 12, 10)
MASK = jnp.asarray(ball(SHAPE, 4))


def _signal(times, hertz, spread=60.0):
    field = hertz + spread * smooth_blobs(SHAPE)
    return jnp.asarray(np.exp(2j * np.pi * field[..., None] * np.asarray(times)), jnp.complex64)


@pytest.mark.parametrize("times", [(0.004, 0.008, 0.012), (0.003, 0.0075, 0.016), (0.02,)])
def test_a_shift_is_found_modulo_one_turn(times):
    acquisition = Acquisition(times, 3.0)
    interval = times[0] if len(times) == 1 else times[1] - times[0]
    base = float(centre_frequency(_signal(times, 0.0), MASK, acquisition))
    for hertz in (-170.0, -40.0, 33.0, 200.0):
        found = float(centre_frequency(_signal(times, hertz), MASK, acquisition))
        turns = (found - base - hertz) * interval
        assert turns == pytest.approx(round(turns), abs=1e-3)
        assert abs(found * interval) <= 0.5 + 1e-6
    jitted = jax.jit(centre_frequency)(_signal(times, 33.0), MASK, acquisition)
    assert float(jitted) == pytest.approx(float(centre_frequency(_signal(times, 33.0), MASK, acquisition)))


@pytest.mark.parametrize("turns", [-5, -1, 0, 1, 3])
def test_uneven_echoes_tell_further_turns(turns):
    times = np.array([0.003, 0.0075, 0.0161, 0.0204])
    field = 40 * smooth_blobs(SHAPE)
    difference = 2 * np.pi * field * (times[1] - times[0])
    hertz = field + turns / (times[1] - times[0])
    # The phase offset takes up the turns at the first echo.
    signal = np.exp(2j * np.pi * (hertz[..., None] * times - turns * times[0] / (times[1] - times[0])))
    found = further_turns(
        jnp.asarray(signal, jnp.complex64), jnp.asarray(difference), MASK, Acquisition(times, 3.0)
    )
    assert int(found) == turns
    even = Acquisition((0.004, 0.008, 0.012), 3.0)
    assert int(further_turns(_signal(even.echo_times, 0.0), jnp.zeros(SHAPE), MASK, even)) == 0


@pytest.mark.parametrize("axes", [(), (0,), (2,), (0, 1), (0, 1, 2)])
def test_alternating_signs_by_axis_and_echo(axes):
    plain = _signal((0.004, 0.008), 20.0)
    sign = 1 - 2 * (sum(np.indices(SHAPE)[axis] for axis in axes) % 2) if axes else np.ones(SHAPE)
    faulty = plain.at[..., 1].multiply(jnp.asarray(sign))
    found = alternating_sign(faulty, MASK)
    np.testing.assert_array_equal(found[0], False)
    np.testing.assert_array_equal(found[1], [axis in axes for axis in range(3)])
    np.testing.assert_allclose(without_alternation(faulty, found), plain, atol=1e-6)
