"""Finite k-space against the discrete Fourier transform; shim, coil phase, dephasing within voxels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from qsm_forward import generate_signal
from qsm_forward.qsm_forward import add_noise

from jaxqsm import Acquisition, Geometry
from jaxqsm.phantoms import HeadPhantom
from jaxqsm.simulation import (
    bipolar_phase,
    random_coil_phase,
    sampling_matrix,
    shim,
    simulate_scan,
)
from jaxqsm.simulation.acquisition import combine, harmonics


def _axes(*lengths, size=2.0):
    return [jnp.arange(float(n)) * size - n * size / 2 for n in lengths]


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("length", [60, 66])
def test_sampling_is_cropping_of_k_space(factor, length, x64):
    """Crop the spectrum, shift by half the difference of voxel sizes, transform back."""
    rng = np.random.default_rng(0)
    fine = rng.standard_normal(length)
    count = length // factor
    frequency = np.fft.fftfreq(length, 1 / length)
    spectrum = np.fft.fft(fine)
    # Both of ±count/2 count by half; without reduction they are one frequency.
    halves = 1.0 if factor == 1 else 0.5
    weight = (np.abs(frequency) < count / 2) + halves * (np.abs(frequency) == count / 2)
    place = (np.arange(count) + 0.5) * factor - 0.5
    waves = np.exp(2j * np.pi * np.outer(place, frequency) / length)
    expected = waves @ (weight * spectrum) / length
    result = sampling_matrix(length, factor) @ fine
    np.testing.assert_allclose(result, expected.real, atol=1e-9)
    np.testing.assert_allclose(expected.imag, 0, atol=1e-9)
    np.testing.assert_allclose(sampling_matrix(length, factor).sum(axis=1), 1, atol=1e-12)


def test_sampling_rings_at_an_edge_and_keeps_waves():
    edge = jnp.where(jnp.arange(128) < 63, 0.0, 1.0)  # cuts a voxel in two
    image = sampling_matrix(128, 2) @ edge
    assert 0.05 < float(image.max() - 1) < 0.12  # Gibbs: about 9 percent
    wave = jnp.cos(2 * jnp.pi * 5 * (jnp.arange(128) + 0.5) / 128)
    coarse = jnp.cos(2 * jnp.pi * 5 * (jnp.arange(64) + 0.5) / 64)
    np.testing.assert_allclose(sampling_matrix(128, 2) @ wave, coarse, atol=1e-5)


def test_partial_fourier_keeps_phase_and_loses_one_side():
    full, whole = sampling_matrix(64, 2, partial_fourier=jnp.asarray(1.0)), sampling_matrix(64, 2)
    np.testing.assert_allclose(full, whole, atol=1e-5)
    part = sampling_matrix(64, 2, partial_fourier=0.75)
    wave = np.exp(2j * np.pi * np.arange(64) / 64)
    for frequency, kept in ((3, 1.0), (-3, 1.0), (14, 1.0), (-14, 0.0)):
        strength = np.abs(np.asarray(part @ wave**frequency)).mean()
        assert strength == pytest.approx(kept, abs=1e-4), frequency


def test_shim_takes_a_second_order_field_away():
    axes = _axes(24, 28, 20)
    true = jnp.array([0.3, -0.2, 0.5, 0.1, 0.4, -0.3, 0.2, 0.6, -0.1])
    field = combine(true, axes)
    weights = jnp.ones(field.shape).at[:5].set(0)
    np.testing.assert_allclose(shim(field, weights, axes), true, atol=2e-3)
    first = shim(field, weights, axes, order=1)
    assert first.shape == (4,)
    rest = (field - combine(first, axes))[5:]
    assert float(rest.std()) < float(field[5:].std())


def test_shim_terms_are_harmonic():
    axes = _axes(16, 16, 16)
    for term in harmonics(axes)[4:]:
        volume = jnp.broadcast_to(term, (16, 16, 16))
        inner = (slice(1, -1),) * 3
        laplacian = sum(
            jnp.roll(volume, 1, axis) + jnp.roll(volume, -1, axis) - 2 * volume for axis in range(3)
        )
        np.testing.assert_allclose(laplacian[inner], 0, atol=1e-6)


def test_coil_phase_is_smooth_and_bipolar_phase_alternates():
    axes = _axes(40, 40, 40, size=4.0)
    phase = random_coil_phase(axes, key=jax.random.key(0))
    assert float(jnp.abs(jnp.diff(phase, axis=0)).max()) < 0.3
    alternating = bipolar_phase(3, axes, constant=0.2, slope=1.0, readout=1)
    np.testing.assert_allclose(alternating[..., 0], -alternating[..., 1])
    np.testing.assert_allclose(alternating[..., 0], alternating[..., 2])
    np.testing.assert_allclose(alternating[0, :, 0, 0], 0.2 + axes[1] / 100, rtol=1e-6)


def _cube(chi, voxel_size, *, shape=(32, 32, 32)):
    return HeadPhantom(
        chi=jnp.asarray(chi, jnp.float32), proton_density=jnp.ones(shape), t1=jnp.full(shape, 1.0),
        r2star=jnp.full(shape, 20.0), labels=np.full(shape, 8, np.uint8), mask=np.ones(shape, bool),
        voxel_size=voxel_size, origin=(0.0, 0.0, 0.0),
    )  # fmt: skip


def test_signal_agrees_with_qsm_forward_on_the_same_field(x64):
    """Same field and relaxation: the scan's signal is qsm-forward's up to its amplitude and coil phase."""
    rng = np.random.default_rng(0)
    phantom = _cube(0.1 * rng.standard_normal((32, 32, 32)), (1.0, 1.0, 1.0))
    acquisition = Acquisition((0.004, 0.012), 3.0)
    scan = simulate_scan(phantom, Geometry(), acquisition, snr=np.inf, key=jax.random.key(0))
    first, second = np.asarray(scan.signal[..., 0]), np.asarray(scan.signal[..., 1])
    peer = [
        generate_signal(np.asarray(scan.total_field), B0=3.0, TE=te, R2star=np.full((32, 32, 32), 20.0))
        for te in (0.004, 0.012)
    ]
    np.testing.assert_allclose(np.abs(second / first), np.abs(peer[1] / peer[0]), rtol=1e-4)
    np.testing.assert_allclose(np.angle(second / first * np.conj(peer[1] / peer[0])), 0, atol=1e-3)


def test_noise_is_rician_in_magnitude():
    """In air the magnitude of complex Gaussian noise has mean σ √(π/2) and mean square 2 σ²."""
    phantom = _cube(np.zeros((32, 32, 32)), (1.0, 1.0, 1.0))
    dark = jnp.ones((32, 32, 32)).at[:, :, :16].set(0.0)
    phantom = HeadPhantom(**{**vars(phantom), "proton_density": dark, "mask": np.asarray(dark) > 0})
    scan = simulate_scan(phantom, Geometry(), Acquisition((0.001,), 3.0), snr=20.0, key=jax.random.key(0))
    magnitude = np.abs(np.asarray(scan.signal[..., 0]))
    sigma = magnitude[:, :, 16:].mean() / 20
    empty = magnitude[:, :, :15]
    assert empty.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.03)
    assert (empty**2).mean() == pytest.approx(2 * sigma**2, rel=0.04)


def test_vein_below_voxel_size_darkens_its_voxel():
    shape = (48, 48, 48)
    chi = np.zeros(shape)
    chi[24:26, 24:26] = 2.0  # 0.5 mm wide, across the field's plane
    fine = _cube(chi, (0.25, 0.25, 0.25), shape=shape)
    mean = chi.reshape(12, 4, 12, 4, 12, 4).mean(axis=(1, 3, 5))
    coarse = _cube(mean, (1.0, 1.0, 1.0), shape=(12, 12, 12))
    geometry = Geometry((1.0, 1.0, 1.0), (1.0, 0.0, 0.0))
    acquisition = Acquisition((0.040,), 7.0)
    options = {"geometry": geometry, "acquisition": acquisition, "snr": np.inf, "shim_order": 0}
    real = np.abs(simulate_scan(fine, **options, key=jax.random.key(0)).signal)[6, 6, 3:9, 0].mean()
    naive = np.abs(simulate_scan(coarse, **options, key=jax.random.key(0)).signal)[6, 6, 3:9, 0].mean()
    assert real < 0.9 * naive


def test_scan_finer_than_its_phantom_is_refused():
    phantom = _cube(np.zeros((8, 8, 8)), (2.0, 2.0, 2.0), shape=(8, 8, 8))
    with pytest.raises(ValueError, match="larger than the scan's"):
        simulate_scan(phantom, Geometry(), Acquisition((0.004,), 3.0), key=jax.random.key(0))


def test_noise_statistics_agree_with_qsm_forward():
    """Phase and magnitude noise of both at one σ, over a uniform body: means and spreads."""
    phantom = _cube(np.zeros((32, 32, 32)), (1.0, 1.0, 1.0))
    acquisition = Acquisition((0.004,), 3.0)
    options = {"shim_order": 0, "geometry": Geometry(), "acquisition": acquisition}
    clean = np.asarray(simulate_scan(phantom, snr=np.inf, **options, key=jax.random.key(0)).signal[..., 0])
    ours = np.asarray(simulate_scan(phantom, snr=10.0, **options, key=jax.random.key(0)).signal[..., 0])
    # qsm-forward's ratio is to the peak, ours to the mean: of a uniform body, one number.
    theirs = add_noise(clean, peak_snr=10.0, rng=np.random.default_rng(0))
    statistics = (lambda s: np.abs(s).mean(), lambda s: np.abs(s).std(), lambda s: np.angle(s / clean).std())
    for statistic in statistics:
        assert statistic(ours) == pytest.approx(statistic(theirs), rel=0.02)
