"""Inversions with a denoiser as prior: better than without one, and true to the physics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ball, relative_error
from jax import random

from jaxqsm import Geometry
from jaxqsm.inversion import tkd
from jaxqsm.networks import load_network
from jaxqsm.phantoms import head
from jaxqsm.physics import dipole_field
from jaxqsm.pretrained import plug_and_play, red
from jaxqsm.pretrained.trained import WEIGHTS
from jaxqsm.uncertainty import coverage, diffusion, ensemble
from jaxqsm.variational.common import referenced

GEOMETRY = Geometry((2.0, 2.0, 2.0), (0.3, 0.4, 0.85))
NOISE = 0.002


@pytest.fixture(scope="module")
def scan():
    """The middle of a head."""
    phantom = head((2.0, 2.0, 2.0))
    middle = tuple(slice(n // 2 - 20, n // 2 + 20) for n in phantom.mask.shape)
    mask = jnp.asarray(np.asarray(phantom.mask)[middle])
    chi = referenced(jnp.asarray(np.asarray(phantom.chi)[middle]) * mask, mask)
    field = dipole_field(chi, GEOMETRY) + NOISE * random.normal(random.key(0), mask.shape)
    return chi, field * mask, mask


@pytest.mark.slow
def test_the_denoiser_takes_off_the_noise_that_it_is_told_of(scan):
    chi, _, mask = scan
    network, notes = load_network(WEIGHTS / "denoiser.safetensors")
    assert notes["task"] == "denoising"
    for level in (0.01, 0.05, 0.2):
        noisy = (chi + level * random.normal(random.key(1), chi.shape)) * mask
        geometry = jax.tree.map(lambda leaf: leaf[None], GEOMETRY)
        (found,) = network.denoise(noisy[None], mask[None], geometry, jnp.array([level]))
        shrunk = noisy * jnp.sum(chi**2) / (jnp.sum(chi**2) + level**2 * mask.sum())
        left, linear = (relative_error(v, chi, mask) for v in (found, shrunk))
        assert left < 0.9 * linear
        (mistaken,) = network.denoise(noisy[None], mask[None], geometry, jnp.array([8 * level]))
        assert left < relative_error(mistaken, chi, mask)


@pytest.mark.slow
@pytest.mark.parametrize("solve", [plug_and_play, pytest.param(red, marks=pytest.mark.slow)])
def test_recovers_chi_by_the_right_physics(scan, solve):
    chi, field, mask = scan
    found = solve(field, mask, GEOMETRY)
    right = relative_error(found, chi, mask)
    assert right < 0.35 < relative_error(tkd(field, mask, GEOMETRY), chi, mask)
    assert abs(float(jnp.mean(found[mask]))) < 1e-5
    assert float(jnp.abs(jnp.where(mask, 0, found)).max()) == 0
    turned = Geometry(GEOMETRY.voxel_size, (0.3, -0.4, 0.85))
    assert relative_error(solve(field, mask, turned), chi, mask) > right + 0.05
    np.testing.assert_allclose(
        solve(4 * field, mask, GEOMETRY), 4 * found, atol=4e-3 * float(jnp.abs(found).max())
    )


@pytest.mark.parametrize("solve", [plug_and_play, red])
def test_a_denoiser_of_ones_own_is_used_as_ours_is(solve):
    mask = jnp.asarray(ball((16, 16, 16), 6))
    field = 0.02 * random.normal(random.key(0), mask.shape) * mask
    network, _ = load_network(WEIGHTS / "denoiser.safetensors")
    network.eval()

    def same(chi, level):
        one = jax.tree.map(lambda leaf: leaf[None], (chi, mask, GEOMETRY, level))
        return network.denoise(*one)[0]

    ours, theirs, other = (
        solve(field, mask, GEOMETRY, max_iterations=2, denoiser=denoiser)
        for denoiser in (None, same, lambda chi, level: 0.5 * chi)
    )
    np.testing.assert_allclose(theirs, ours, atol=1e-6)
    assert relative_error(other, ours, mask) > 0.1


@pytest.mark.slow
def test_a_field_without_noise_is_not_believed_to_the_last_digit(scan):
    """The pull along the magic-angle cone would vanish with the noise."""
    chi, _, mask = scan
    found = plug_and_play(dipole_field(chi, GEOMETRY) * mask, mask, GEOMETRY)
    assert relative_error(found, chi, mask) < 0.25


@pytest.mark.slow
def test_plug_and_play_is_differentiable(scan):
    """χ scales with the field, so that a loss of squares does with its square: Euler's identity."""
    _, field, mask = scan
    field, mask = field[8:32, 8:32, 8:32], mask[8:32, 8:32, 8:32]

    def loss(field):
        return jnp.sum(plug_and_play(field, mask, GEOMETRY, max_iterations=4) ** 2)

    value, gradient = jax.value_and_grad(loss)(field)
    assert float(jnp.vdot(gradient, field)) == pytest.approx(2 * float(value), rel=0.1)


@pytest.mark.slow
def test_samples_of_diffusion_cover_the_truth_and_their_mean_is_the_better_map(scan):
    chi, field, mask = scan
    drawn = diffusion(field, mask, GEOMETRY, noise=NOISE, samples=8, key=random.key(2))
    assert 0.75 < float(coverage(drawn.mean - chi, drawn.standard_deviation, mask)) < 0.97
    each = [relative_error(sample, chi, mask) for sample in drawn.samples]
    assert relative_error(drawn.mean, chi, mask) < 0.95 * min(each) < 0.5
    again = diffusion(field, mask, GEOMETRY, noise=NOISE, samples=8, key=random.key(2))
    np.testing.assert_array_equal(again.mean, drawn.mean)


def test_an_ensemble_is_the_mean_and_spread_of_its_members():
    mask = jnp.ones((5, 4, 3), bool).at[0].set(False)
    field = jnp.arange(60.0).reshape(mask.shape)
    members = [lambda f, m, g, weights, c=c: c * f * m for c in (1.0, 2.0, 6.0)]
    found = ensemble(members, field, mask, GEOMETRY)
    np.testing.assert_allclose(found.mean, 3 * field * mask)
    np.testing.assert_allclose(found.standard_deviation, np.sqrt(7) * field * mask, rtol=1e-5)
    with pytest.raises(ValueError, match="at least two"):
        ensemble(members[:1], field, mask, GEOMETRY)


def test_an_ensemble_that_is_told_the_noise_spreads_as_that_does():
    """Through members that only scale the field: noise in the mask alone, of another draw for each."""
    mask = jnp.asarray(ball((12, 12, 12), 5))
    members = [lambda field, mask, geometry, weights: 2 * field] * 40
    field = jnp.ones(mask.shape) * mask
    found = ensemble(members, field, mask, GEOMETRY, noise=0.3, key=jax.random.key(1))
    assert float(jnp.sqrt(jnp.mean(found.standard_deviation[mask] ** 2))) == pytest.approx(0.6, rel=0.03)
    assert float(jnp.abs(jnp.where(mask, 0, found.members)).max()) == 0
    assert float(ensemble(members[:2], field, mask, GEOMETRY).standard_deviation.max()) == 0
