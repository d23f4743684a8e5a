"""Blur, slices, masks and brightness of real scans."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import ball

from jaxqsm import Geometry
from jaxqsm.simulation import brightness, cut_mask, distorted, registered, sampling_matrix, slice_offsets

SHAPE = (32, 32, 32)


def test_registration_blurs_waves_as_linear_interpolation_does():
    """There and back by f: cos k loses 2 f (1 − f) (1 − cos k) of its size."""
    wave = jnp.broadcast_to(jnp.cos(0.8 * jnp.arange(32.0))[:, None, None], SHAPE)
    blurred = registered(wave, jnp.ones(SHAPE, bool), jnp.array([0.3, 0.0, 0.0]))
    gain = 1 - 2 * 0.3 * 0.7 * (1 - np.cos(0.8))
    np.testing.assert_allclose(blurred[2:-2], gain * wave[2:-2], atol=1e-5)


def test_registration_keeps_constants_and_reads_nothing_from_outside():
    mask = jnp.asarray(ball(SHAPE, 10))
    field = jnp.where(mask, 0.02, 100.0)
    blurred = registered(field, mask, jnp.array([0.5, 0.4, 0.2]))
    np.testing.assert_allclose(blurred, 0.02 * mask, rtol=1e-5)


def test_slices_have_one_offset_each():
    mask = jnp.ones((8, 8, 200), bool)
    offsets = slice_offsets(mask, standard_deviation=0.003, key=jax.random.key(0))
    assert np.ptp(offsets, axis=(0, 1)).max() == 0
    assert 0.0025 < np.std(offsets[0, 0]) < 0.0035
    across = slice_offsets(mask, standard_deviation=0.003, axis=0, key=jax.random.key(0))
    assert np.ptp(across, axis=(1, 2)).max() == 0


def test_a_linear_field_stretches_the_image_along_the_phase_encoding_and_squeezes_it_when_reversed():
    """y' = y + s (y − c): what is at y is found at y', and lines across keep their place."""
    y = jnp.arange(32.0)
    wave = jnp.broadcast_to(jnp.sin(0.3 * y)[:, None], SHAPE)
    for slope in (0.4, -0.4):
        shown = distorted(wave, jnp.broadcast_to(slope * (y - 16)[:, None], SHAPE))
        expected = np.interp((y - 16) / (1 + slope) + 16, y, np.sin(0.3 * y))
        np.testing.assert_allclose(shown[5, 8:24, 7], expected[8:24], atol=2e-3)
    across = jnp.broadcast_to(jnp.sin(0.3 * y)[:, None, None], SHAPE)
    np.testing.assert_allclose(distorted(across, jnp.full(SHAPE, 2.3)), across, atol=1e-6)


def test_cut_masks_have_holes_where_the_signal_is_low():
    mask = jnp.asarray(ball(SHAPE, 10))
    magnitude = jnp.ones(SHAPE).at[16, 16, 16].set(0.15)
    assert not cut_mask(mask, 4095 * magnitude, 0.2)[16, 16, 16]
    assert int(cut_mask(mask, 4095 * magnitude, 0.2).sum()) == int(mask.sum()) - 1
    assert (cut_mask(mask, magnitude, 0.1) == mask).all()


def test_brightness_is_smooth_shading_and_fine_structure_of_the_given_size():
    drawn = brightness(
        jnp.ones((64,) * 3, bool), Geometry((2.0, 2.0, 2.0)), strength=0.2, key=jax.random.key(0)
    )
    assert 0.15 < np.std(np.log(drawn)) < 0.3
    assert (brightness(jnp.ones(SHAPE, bool), Geometry(), strength=0.0, key=jax.random.key(0)) == 1).all()
    short = brightness(
        jnp.ones((16,) * 3, bool), Geometry((0.3, 0.3, 0.3)), strength=0.2, key=jax.random.key(0)
    )
    assert np.isfinite(short).all()


def test_k_space_filled_with_zeros_keeps_slow_waves_and_loses_fast_ones():
    matrix = sampling_matrix(32, 1, resolution=0.5)
    place = np.arange(32)
    for cycles, gain in ((3, 1.0), (12, 0.0)):
        wave = np.cos(2 * np.pi * cycles * place / 32)
        np.testing.assert_allclose(matrix @ wave, gain * wave, atol=1e-4)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)
