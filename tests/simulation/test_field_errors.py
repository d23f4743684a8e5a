"""Simulated errors look like the difference between a measured field and the dipole field of its χ."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import ball

from jaxqsm import Geometry
from jaxqsm.operators import erode
from jaxqsm.simulation import field_errors

SHAPE = (96, 96, 96)
MASK = jnp.asarray(ball(SHAPE, 40))


def _drawn(chi, geometry=Geometry(), seed=0):
    errors = field_errors(chi, MASK, geometry, standard_deviation=0.006, key=jax.random.key(seed))
    return np.asarray(errors)


def _correlation(errors, inside, shift):
    other = np.roll(errors, shift, axis=0)
    both = inside & np.roll(inside, shift, axis=0)
    return np.corrcoef(errors[both], other[both])[0, 1]


def test_spectrum_and_correlation_are_those_of_measured_errors():
    """The 2016 head: 16 % of the power below 0.04, 25 % to 0.1, half above 0.2 cycles/mm."""
    errors, inside = _drawn(jnp.zeros(SHAPE)), np.asarray(MASK)
    assert np.isclose(np.sqrt(np.mean(errors[inside] ** 2)), 0.006, rtol=1e-3)
    assert not errors[~inside].any()
    power = np.abs(np.fft.fftn(errors)) ** 2
    k = np.sqrt(sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(n) for n in SHAPE), indexing="ij")))
    low, middle, high = (
        power[(k >= a) & (k < b)].sum() / power.sum() for a, b in ((0, 0.04), (0.04, 0.1), (0.2, 1))
    )
    assert 0.10 < low < 0.22
    assert 0.18 < middle < 0.32
    assert 0.42 < high < 0.58
    assert 0.40 < _correlation(errors, inside, 1) < 0.54
    assert 0.28 < _correlation(errors, inside, 2) < 0.45


def test_lengths_are_millimetres():
    errors = _drawn(jnp.zeros(SHAPE), Geometry((2.0, 1.0, 1.0)))
    inside = np.asarray(MASK)
    along, across = (
        _correlation(errors, inside, 2),
        _correlation(errors.swapaxes(0, 1), inside.swapaxes(0, 1), 4),
    )
    assert abs(along - across) < 0.05


def test_errors_grow_with_sources_and_towards_the_border_and_know_nothing_of_the_sign():
    rng = np.random.default_rng(0)
    strong = np.zeros(SHAPE)
    strong[30:66, 30:66, 30:66] = 0.16 * np.sign(rng.standard_normal((36, 36, 36)))
    errors = np.stack([_drawn(jnp.asarray(strong, jnp.float32), seed=s) for s in range(4)])
    deep = np.asarray(erode(MASK, 1.5, Geometry()))
    size = {
        name: np.sqrt(np.mean(errors[:, where] ** 2))
        for name, where in {
            "strong": strong != 0,
            "quiet": deep & (strong == 0),
            "rim": np.asarray(MASK) & ~deep,
        }.items()
    }
    assert 2.8 < size["strong"] / size["quiet"] < 3.2
    assert 1.25 < size["rim"] / size["quiet"] < 1.42
    inside = np.asarray(MASK)
    assert abs(np.corrcoef(errors[0][inside], strong[inside])[0, 1]) < 0.05
