"""An implausible result says so, with what to do; a good one says nothing."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ball
from scipy import ndimage

from jaxqsm import Geometry
from jaxqsm.inversion import tkd
from jaxqsm.physics import dipole_field
from jaxqsm.pipeline import Maps
from jaxqsm.pipeline.doubts import doubts_of_maps

GEOMETRY = Geometry((3.0, 3.0, 3.0), (0.1, 0.0, 0.99))
SHAPE = (56, 60, 50)


def _brain(radius=23):
    """Smooth tissue of 0.03 ppm, with nuclei and veins that are positive."""
    rng = np.random.default_rng(0)
    mask = ball(SHAPE, radius)
    tissue = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.5)
    chi = 0.03 * tissue / tissue.std()
    chi += 0.15 * ndimage.gaussian_filter((rng.random(SHAPE) > 0.996).astype(float), 0.7) / 0.1
    return mask, chi


def _maps(mask, chi, residual=0.0):
    chi = np.where(mask, chi - chi[mask].mean(), 0).astype(np.float32)
    local = np.asarray(dipole_field(jnp.asarray(chi), GEOMETRY)) * mask
    rest = residual * local
    return Maps(local, mask.astype(np.float32), local, chi, rest, mask)


def _doubts(maps, mask=None, scale=1.0):
    return doubts_of_maps(maps, maps.mask if mask is None else mask, GEOMETRY, scale)


def test_a_plausible_map_raises_none():
    assert _doubts(_maps(*_brain())) == []


def _spoilt(kind):
    mask, chi = _brain()
    if kind == "rim":
        rim = mask & ~ndimage.binary_erosion(mask)
        chi = np.where(rim, 0.4 * np.sign(np.random.default_rng(1).standard_normal(SHAPE)), chi)
    if kind == "sign":
        chi = -chi
    if kind == "spread":
        chi = 8 * chi
    if kind == "residual":
        return _maps(mask, chi, residual=0.9)
    if kind == "streaks":
        field = _maps(mask, chi).local_field + 0.004 * np.random.default_rng(2).standard_normal(SHAPE)
        field = jnp.asarray(field, jnp.float32)
        chi = np.asarray(tkd(field, jnp.asarray(mask), GEOMETRY, threshold=0.01, scale_correction=False))
    if kind == "volume":
        mask, chi = ball(SHAPE, 27), _brain()[1]
    return _maps(mask, chi)


@pytest.mark.parametrize(
    ("kind", "mentions", "remedy"),
    [
        ("rim", "at the border of the mask", "--erosion"),
        ("sign", "is negative", "--invert-phase"),
        ("spread", "varies by", "field strength"),
        ("residual", "residual 90 %", "--b0-dir"),
        ("streaks", "streaks", "weight or threshold"),
        ("volume", "more than a brain", "--mask-method"),
    ],
)
def test_every_fault_is_named_with_a_remedy(kind, mentions, remedy):
    doubts = _doubts(_spoilt(kind))
    told = [text for text in doubts if mentions in text]
    assert len(told) == 1, doubts
    assert remedy in told[0]


def test_little_that_is_kept_and_little_that_is_given():
    maps = _maps(*_brain(15))
    assert any("kept only" in text for text in _doubts(maps, ball(SHAPE, 23)))
    assert any("less than a brain" in text for text in _doubts(maps))
    # A mouse has less, and is no half of a brain.
    assert not any("brain" in text for text in _doubts(maps, scale=0.1))
