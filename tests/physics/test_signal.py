import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_gradient, smooth_blobs
from qsm_forward import generate_signal

from jaxqsm import Acquisition, Geometry
from jaxqsm.physics import (
    add_complex_noise,
    dipole_field,
    field_noise,
    gre_signal,
    gre_signal_from_chi,
    spoiled_gre_amplitude,
    wrap_phase,
)


def test_agrees_with_qsm_forward(x64):
    field = smooth_blobs((8, 8, 8))
    theirs = generate_signal(
        field, B0=7, TR=0.05, TE=0.012, flip_angle=15, phase_offset=0.4, R1=0.8, R2star=35.0, M0=2.0
    )
    amplitude = spoiled_gre_amplitude(2.0, 1 / 0.8, repetition_time=0.05, flip_angle=np.deg2rad(15))
    ours = gre_signal(
        jnp.asarray(field), Acquisition((0.012,), 7.0), m0=amplitude, r2star=35.0, phase_offset=0.4
    )[..., 0]
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), rtol=1e-6)
    # Its gyromagnetic ratio has fewer digits (42.58 MHz/T): phase agrees to that.
    phase = np.asarray(wrap_phase(jnp.angle(ours) - np.angle(theirs)))
    assert np.abs(phase).max() < 2e-3 * np.abs(field).max() * 2 * np.pi * 42.6 * 7 * 0.012


def test_paramagnetic_source_gives_growing_phase_along_the_field():
    chi = jnp.zeros((16, 16, 16)).at[8, 8, 8].set(0.5)
    acquisition = Acquisition((0.001, 0.002), 3.0)
    phase = jnp.angle(gre_signal_from_chi(chi, Geometry(), acquisition))
    assert phase[8, 8, 11, 1] > phase[8, 8, 11, 0] > 0
    assert phase[11, 8, 8, 1] < phase[11, 8, 8, 0] < 0
    field = dipole_field(chi, Geometry())
    expected = 2 * np.pi * 42.577478518 * 3 * 0.002 * field
    np.testing.assert_allclose(phase[..., 1], expected, atol=1e-6)


def test_gradient_reaches_chi_and_parameters(x64):
    acquisition = Acquisition((0.004, 0.012), 3.0)
    chi = jnp.asarray(smooth_blobs((8, 8, 8)))

    def loss(c, rate):
        signal = gre_signal_from_chi(c, Geometry(), acquisition, m0=2.0, r2star=rate, phase_offset=0.2)
        return jnp.sum(jnp.real(signal) * jnp.arange(2.0) + jnp.imag(signal) ** 2)

    assert_gradient(lambda c: loss(c, 30.0), chi)
    assert_gradient(lambda r: loss(chi, r), jnp.full((8, 8, 8), 30.0), step=1e-3)


def test_wrap_phase_keeps_the_angle_and_the_range():
    phase = jnp.linspace(-20, 20, 1001)
    wrapped = wrap_phase(phase)
    assert jnp.abs(wrapped).max() <= np.pi + 1e-5
    np.testing.assert_allclose(jnp.cos(wrapped), jnp.cos(phase), atol=1e-5)
    assert jax.grad(wrap_phase)(5.0) == 1


def test_noise_has_the_stated_deviation_in_each_channel():
    noisy = add_complex_noise(jnp.full((40, 40, 40), 3 + 4j), 0.25, key=jax.random.key(0))
    np.testing.assert_allclose([noisy.real.std(), noisy.imag.std()], 0.25, rtol=0.02)
    np.testing.assert_allclose(noisy.mean(), 3 + 4j, atol=0.01)
    # Phase noise is deviation over magnitude.
    np.testing.assert_allclose(jnp.angle(noisy).std(), 0.25 / 5, rtol=0.03)


def test_noise_of_a_field_is_found_beside_its_structure():
    shape = (30, 28, 26)
    field = 0.05 * jnp.asarray(smooth_blobs(shape)).at[10, 10].set(3.0)
    mask = jnp.ones(shape, bool).at[:4].set(False)
    weights = jnp.ones(shape).at[:, :14].set(0.5)
    noise = 0.01 * jax.random.normal(jax.random.key(0), shape) / weights
    assert float(field_noise(jnp.where(mask, field + noise, 9.0), weights, mask)) == pytest.approx(
        0.01, rel=0.05
    )
    assert float(field_noise(field, weights, mask)) < 1e-3
    assert float(field_noise(field, weights, jnp.zeros(shape, bool).at[5, 5].set(True))) >= 0
    assert float(field_noise(field[:3, :3, :3], weights[:3, :3, :3], mask[4:7, :3, :3])) == 0
