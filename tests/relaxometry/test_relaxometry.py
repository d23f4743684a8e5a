import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_gradient

from jaxqsm import Acquisition, relaxometry

SHAPE = (12, 10, 8)
MASK = jnp.ones(SHAPE, bool).at[0].set(False)
ACQUISITION = Acquisition((0.004, 0.010, 0.016, 0.022, 0.028), 3.0)
METHODS = {name: getattr(relaxometry, name) for name in ("arlo", "log_linear", "nonlinear")}


def decaying(rate, amplitude=300.0, acquisition=ACQUISITION):
    return amplitude * jnp.exp(-rate[..., None] * acquisition.echo_times)


def rates():
    return jnp.asarray(np.random.default_rng(0).uniform(10, 120, SHAPE), jnp.float32)


@pytest.mark.parametrize("name", METHODS)
def test_recovers_the_rate_per_second(name):
    rate = rates()
    found = METHODS[name](decaying(rate), MASK, ACQUISITION)
    # Simpson's rule over 12 ms is not exact for the fastest decay.
    np.testing.assert_allclose(found, rate * MASK, rtol=0.01 if name == "arlo" else 1e-3, atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_the_unit_of_the_magnitude_does_not_matter(name):
    rate = rates()
    once = METHODS[name](decaying(rate), MASK, ACQUISITION)
    np.testing.assert_allclose(METHODS[name](decaying(rate, 1e-4), MASK, ACQUISITION), once, rtol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_a_voxel_without_signal_is_finite(name):
    magnitude = decaying(rates()).at[3].set(0.0)
    found = np.asarray(METHODS[name](magnitude, MASK, ACQUISITION))
    assert np.isfinite(found).all()
    assert (found >= 0).all()


def test_nonlinear_is_the_most_precise():
    """At SNR 50 with even noise, and equal to SciPy's least squares."""
    from scipy.optimize import curve_fit

    rate = jnp.full((20, 20, 20), 80.0)
    noise = jax.random.normal(jax.random.key(0), (*rate.shape, 5))
    noisy = decaying(rate, 100.0) + 2.0 * noise
    spread = {
        name: float(jnp.std(method(noisy, jnp.ones(rate.shape, bool), ACQUISITION)))
        for name, method in METHODS.items()
    }
    assert spread["nonlinear"] <= 1.02 * min(spread.values())
    found = METHODS["nonlinear"](noisy, jnp.ones(rate.shape, bool), ACQUISITION)
    times = np.asarray(ACQUISITION.echo_times, float)
    for voxel in ((0, 0, 0), (3, 7, 11), (19, 2, 5)):
        theirs, _ = curve_fit(
            lambda t, a, r: a * np.exp(-r * t), times, np.asarray(noisy[voxel], float), p0=(100, 50)
        )
        assert float(found[voxel]) == pytest.approx(theirs[1], rel=2e-3)


@pytest.mark.parametrize("name", METHODS)
def test_gradient(name, x64):
    magnitude = decaying(jnp.asarray(np.random.default_rng(0).uniform(10, 120, (3, 2, 2))))
    mask = jnp.ones((3, 2, 2), bool)
    assert_gradient(lambda m: jnp.sum(METHODS[name](m, mask, ACQUISITION) ** 2), magnitude, rtol=1e-4)


def test_uneven_or_too_few_echoes_are_refused():
    uneven = Acquisition((0.004, 0.010, 0.020), 3.0)
    magnitude = decaying(rates(), acquisition=uneven)
    with pytest.raises(ValueError, match="evenly"):
        relaxometry.arlo(magnitude, MASK, uneven)
    with pytest.raises(ValueError, match="three"):
        relaxometry.arlo(magnitude[..., :2], MASK, Acquisition((0.004, 0.01), 3.0))
    np.testing.assert_allclose(relaxometry.log_linear(magnitude, MASK, uneven), rates() * MASK, rtol=1e-3)
