import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_gradient, ball, smooth_blobs

from jaxqsm import Acquisition, Geometry
from jaxqsm.field_mapping import (
    bipolar_offset,
    evenly_spaced,
    mcpc_3d_s,
    nonlinear_fit,
    precision,
    reliability,
    weighted_fit,
)
from jaxqsm.physics import add_complex_noise, gre_signal, wrap_phase

SHAPE = (24, 24, 20)
ACQUISITION = Acquisition((0.004, 0.012, 0.020), 3.0)
MASK = jnp.asarray(ball(SHAPE, 9))


def test_fit_recovers_the_field_in_ppm():
    field = jnp.asarray(0.3 * smooth_blobs(SHAPE), jnp.float32)
    phase = field[..., None] * ACQUISITION.phase_per_ppm
    magnitude = jnp.ones_like(phase)
    np.testing.assert_allclose(weighted_fit(phase, magnitude, MASK, ACQUISITION), field * MASK, atol=1e-6)
    # A constant offset biases the fit through the origin, and does not touch that with intercept.
    shifted = phase + 0.5
    with_intercept = weighted_fit(shifted, magnitude, MASK, ACQUISITION, intercept=True)
    np.testing.assert_allclose(with_intercept, field * MASK, atol=1e-6)
    assert jnp.abs(weighted_fit(shifted, magnitude, MASK, ACQUISITION) - field * MASK).max() > 0.01


def test_fit_ignores_echoes_without_signal():
    field = jnp.full(SHAPE, 0.2)
    phase = (field[..., None] * ACQUISITION.phase_per_ppm).at[..., 2].set(99.0)
    magnitude = jnp.ones_like(phase).at[..., 2].set(0.0)
    np.testing.assert_allclose(weighted_fit(phase, magnitude, MASK, ACQUISITION), field * MASK, atol=1e-5)


def test_fit_noise_is_one_over_the_precision():
    """The spread of the fitted field over noise realisations is 1 / precision, voxel by voxel."""
    field = jnp.zeros((40, 40, 40))
    rate = jnp.linspace(10, 80, 40)[:, None, None] * jnp.ones((40, 40, 40))
    clean = gre_signal(field, ACQUISITION, m0=100.0, r2star=rate)
    noisy = add_complex_noise(clean, 1.0, key=jax.random.key(0))
    fitted = weighted_fit(jnp.angle(noisy), jnp.abs(noisy), jnp.ones((40, 40, 40), bool), ACQUISITION)
    expected = 1 / precision(jnp.abs(clean), ACQUISITION)
    normalised = np.asarray(fitted / expected).std(axis=(1, 2))
    np.testing.assert_allclose(normalised, 1, atol=0.1)


def test_reliability_tells_wrong_turns_and_noise_from_good_phase():
    field = jnp.asarray(0.1 * smooth_blobs(SHAPE), jnp.float32)
    clean = gre_signal(field, ACQUISITION, m0=100.0, r2star=25.0, phase_offset=0.7)
    signal = add_complex_noise(clean, 1.0, key=jax.random.key(0))
    phase = field[..., None] * ACQUISITION.phase_per_ppm
    wrong = phase.at[..., 1].add(2 * jnp.pi)
    fits = [weighted_fit(p, jnp.abs(signal), MASK, ACQUISITION) for p in (phase, wrong)]
    good, bad = (
        np.asarray(reliability(jnp.angle(signal), jnp.abs(signal), fit, ACQUISITION))[MASK] for fit in fits
    )
    assert good.min() > 0.98  # the constant offset does not matter
    assert bad.max() < 0.9
    noise = add_complex_noise(jnp.zeros_like(signal), 1.0, key=jax.random.key(1))
    random = reliability(jnp.angle(noise), jnp.abs(noise), fits[0], ACQUISITION)
    assert (random < 0.9).mean() > 0.6
    one = Acquisition((0.004,), 3.0)
    assert (reliability(phase[..., :1], jnp.ones((*SHAPE, 1)), field, one) == 1).all()
    assert (reliability(phase, jnp.zeros_like(phase), field, ACQUISITION) == 0).all()


def test_fit_gradient(x64):
    acquisition = Acquisition((0.004, 0.012, 0.020), 3.0)
    phase = jnp.asarray(np.random.default_rng(0).standard_normal((4, 4, 4, 3)))
    magnitude = jnp.abs(phase) + 1
    mask = jnp.ones((4, 4, 4), bool)
    assert_gradient(lambda p: jnp.sum(weighted_fit(p, magnitude, mask, acquisition) ** 2), phase)
    assert_gradient(lambda m: jnp.sum(weighted_fit(phase, m, mask, acquisition) ** 2), magnitude)


def test_offset_is_found_where_it_is_smooth():
    x, y, z = np.indices(SHAPE)
    offset = 1.5 + 0.05 * (x - 12) - 0.03 * (y - 12) + 0.02 * (z - 10)
    field = jnp.asarray(0.2 * smooth_blobs(SHAPE), jnp.float32)
    signal = gre_signal(field, ACQUISITION, m0=1.0, phase_offset=jnp.asarray(offset, jnp.float32))
    difference = field * (ACQUISITION.phase_per_ppm[1] - ACQUISITION.phase_per_ppm[0])
    found = mcpc_3d_s(
        jnp.angle(signal), difference, jnp.abs(signal), MASK, Geometry(), ACQUISITION, smoothing=3.0
    )
    error = np.asarray(wrap_phase(found - offset))[np.asarray(ball(SHAPE, 6))]
    # Smoothing in a mask pulls a ramp to its mean near the border; the offset itself spans 1 rad.
    assert np.abs(error).max() < 0.1


@pytest.mark.parametrize("readout", [0, 1])
def test_what_backward_echoes_have_more_is_found_whatever_field_and_offset(readout):
    """Also where it wraps: twice the phase spans three turns here, and a bend is no line."""
    indices = np.indices(SHAPE)
    along = indices[readout] - 12
    ahead = -0.4 + 0.4 * along + 0.05 * (indices[2] - 10) + 0.2 * np.cos(along / 8)
    field = jnp.asarray(0.3 * smooth_blobs(SHAPE), jnp.float32)
    offset = jnp.asarray(1.5 + 0.05 * indices[1], jnp.float32)
    clean = gre_signal(field, ACQUISITION, m0=100.0, r2star=30.0, phase_offset=offset)
    clean = clean.at[..., 1].multiply(jnp.exp(1j * ahead))
    signal = add_complex_noise(clean, 2.0, key=jax.random.key(0))
    found = bipolar_offset(signal, MASK, Geometry((2.0, 2.0, 2.0)))
    error = np.asarray(found - ahead)[np.asarray(MASK)]
    assert np.abs(error).max() < 0.12
    assert abs(error.mean()) < 0.02
    other_way = bipolar_offset(jnp.conj(signal), MASK, Geometry((2.0, 2.0, 2.0)))
    np.testing.assert_allclose(other_way, -found, atol=1e-3)
    for unit in (1e-12, 1e9):
        np.testing.assert_allclose(
            bipolar_offset(unit * signal, MASK, Geometry((2.0, 2.0, 2.0))), found, atol=1e-3
        )
    nothing = bipolar_offset(jnp.zeros_like(signal), MASK, Geometry())
    np.testing.assert_array_equal(nothing, 0)


def test_a_bipolar_readout_needs_three_echoes_at_even_intervals():
    with pytest.raises(ValueError, match="three echoes or more"):
        bipolar_offset(jnp.ones((*SHAPE, 2), complex), MASK, Geometry())
    assert evenly_spaced(np.array([0.004, 0.012, 0.020, 0.05]))
    assert not evenly_spaced(np.array([0.004, 0.012, 0.024]))


def test_derivative_of_the_bipolar_offset(x64):
    shape = (6, 5, 4)
    rng = np.random.default_rng(0)
    phase = jnp.asarray(0.3 * rng.standard_normal((*shape, 3)))
    weight = jnp.asarray(rng.standard_normal(shape))
    mask = jnp.ones(shape, bool).at[0, 0, 0].set(False)

    def loss(phase):
        signal = jnp.exp(1j * phase).at[1, 1, 1].set(0)
        return jnp.sum(weight * bipolar_offset(signal, mask, Geometry()))

    assert_gradient(loss, phase)


def _decaying(field, offset=0.0):
    phase = field[..., None] * ACQUISITION.phase_per_ppm + offset
    return phase, 50 * jnp.exp(-40.0 * ACQUISITION.echo_times) * jnp.ones_like(phase)


@pytest.mark.parametrize("intercept", [False, True])
def test_nonlinear_fit_recovers_the_field_in_ppm(intercept):
    field = jnp.asarray(0.3 * smooth_blobs(SHAPE), jnp.float32)
    phase, magnitude = _decaying(field, 0.5 if intercept else 0.0)
    found = nonlinear_fit(phase, magnitude, MASK, ACQUISITION, intercept=intercept)
    np.testing.assert_allclose(found, field * MASK, atol=1e-5)


def test_nonlinear_fit_does_not_mind_a_whole_turn():
    field = jnp.asarray(0.1 * smooth_blobs(SHAPE), jnp.float32)
    phase, magnitude = _decaying(field)
    wrong = phase.at[..., 2].add(2 * jnp.pi)
    found = nonlinear_fit(wrong, magnitude, MASK, ACQUISITION)
    np.testing.assert_allclose(found, field * MASK, atol=1e-3)
    assert jnp.abs(weighted_fit(wrong, magnitude, MASK, ACQUISITION) - field * MASK).max() > 0.05


def test_nonlinear_fit_is_as_precise_as_the_linear_one_where_signal_is_high():
    field = jnp.zeros((20, 20, 20))
    clean = gre_signal(field, ACQUISITION, m0=100.0, r2star=30.0)
    noisy = add_complex_noise(clean, 1.0, key=jax.random.key(0))
    inside = jnp.ones(field.shape, bool)
    fits = [f(jnp.angle(noisy), jnp.abs(noisy), inside, ACQUISITION) for f in (nonlinear_fit, weighted_fit)]
    assert float(jnp.std(fits[0])) < 1.02 * float(jnp.std(fits[1]))


@pytest.mark.parametrize("intercept", [False, True])
def test_nonlinear_fit_gradient(x64, intercept):
    random = np.random.default_rng(0)
    phase, magnitude = _decaying(jnp.asarray(random.normal(0, 0.1, (2, 3, 2))))
    phase = phase + jnp.asarray(random.normal(0, 0.02, phase.shape))
    mask = jnp.ones(phase.shape[:3], bool)
    assert_gradient(
        lambda p: jnp.sum(nonlinear_fit(p, magnitude, mask, ACQUISITION, intercept=intercept) ** 2),
        phase,
        rtol=1e-4,
    )
