import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from jaxqsm.io import InputError, to_radians

TRUE = np.random.default_rng(0).uniform(-np.pi, np.pi, (12, 12, 12))


def _error(stored, **options):
    radians, text = to_radians(stored.astype(np.float32), **options)
    gap = np.angle(np.exp(1j * (radians - TRUE)))
    # An offset is no error: it is part of the phase offset.
    gap = np.angle(np.exp(1j * (gap - np.angle(np.mean(np.exp(1j * gap))))))
    assert np.abs(radians).max() <= np.pi + 1e-5
    return np.abs(gap).max(), text


@pytest.mark.parametrize(
    ("stored", "mentions"),
    [
        (TRUE, "radians"),
        (np.mod(TRUE, 2 * np.pi), "radians"),
        (np.clip(np.rint((TRUE + np.pi) * 4096 / (2 * np.pi)), 0, 4095), "0 … 4095"),
        (np.rint(TRUE * 4096 / np.pi).clip(-4096, 4095), "-4096 … 4095"),
        (np.rint(TRUE * 2048 / np.pi).clip(-2048, 2047), "-2048 … 2047"),
        (np.rint(TRUE * 8192 / np.pi).clip(-8192, 8191), "-8192 … 8191"),
        (TRUE * 0.00367438 / np.pi, "jump"),
        (TRUE * 1000 / np.pi, "jump"),
    ],
)
def test_scales_are_recognised(stored, mentions):
    error, text = _error(stored)
    assert error < 0.005
    assert mentions in text
    assert ("rescaled" in text) != ("radians" in text)


def test_a_given_range_overrides():
    error, text = _error(100 + 50 * TRUE, phase_range=(100 - 50 * np.pi, 100 + 50 * np.pi))
    assert error < 1e-4
    assert "--phase-range" in text
    with pytest.raises(InputError, match="second must be larger"):
        to_radians(TRUE, phase_range=(3, 1))


def test_the_sidecar_is_believed_for_small_and_for_unwrapped_radians():
    radians, text = to_radians(0.1 * TRUE.astype(np.float32), units="rad")
    np.testing.assert_allclose(radians, 0.1 * TRUE, atol=1e-6)
    assert "sidecar" in text
    error, text = _error(TRUE + 2 * np.pi * np.random.default_rng(1).integers(-3, 4, TRUE.shape), units="rad")
    assert error < 1e-5
    assert "wrapped" in text


def test_what_cannot_be_told_is_asked():
    with pytest.raises(InputError, match="--phase-range"):
        to_radians(np.abs(TRUE) * 17.3, name="p.nii")
    with pytest.raises(InputError, match="constant"):
        to_radians(np.full((3, 3, 3), 7.0), name="p.nii")


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(st.floats(1e-4, 1e5))
def test_any_symmetric_scale(scale):
    part = TRUE / np.abs(TRUE).max()
    radians, _ = to_radians((part * scale).astype(np.float32))
    # The ends −π and π are one angle.
    gap = np.angle(np.exp(1j * (radians - part * np.pi)))
    np.testing.assert_allclose(gap, 0, atol=0.02)


SMOOTH = np.sin(np.linspace(-1.5, 1.5, 14))[:, None, None] * np.ones((14, 9, 8))
"""From end to end of its range without a wrap, and by chance symmetric."""


@pytest.mark.parametrize(
    "stored",
    [
        SMOOTH * 0.17,
        SMOOTH * 2.9,
        SMOOTH * 500,
        np.rint(SMOOTH * 217),
        np.rint(SMOOTH * 490),  # nine tenths of ten bits
        np.rint(SMOOTH * 2047),
        np.rint((SMOOTH + 1) * 2047),  # as a magnitude of twelve bits has it
        np.rint(SMOOTH * 180),
    ],
)
def test_a_range_without_wraps_is_asked_for(stored):
    """Whole numbers and others, within ±π and beyond: no stretching by chance symmetry."""
    with pytest.raises(InputError, match="--phase-range"):
        to_radians(stored.astype(np.float32))
