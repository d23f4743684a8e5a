"""The training stream: physics of its truth, its seeds, its ranges; the Grain dataset."""

import sys

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import relative_error

from jaxqsm import Geometry
from jaxqsm.operators import laplacian
from jaxqsm.phantoms.subject import sample
from jaxqsm.phantoms.template import template
from jaxqsm.phantoms.tissues import AIR_CHI
from jaxqsm.physics import dipole_field, wrap_phase
from jaxqsm.simulation import Variety, patch_dataset, patch_stream

SHAPE = (24, 24, 24)
far_field, patches = (sys.modules[f"jaxqsm.simulation.{name}"] for name in ("far_field", "patches"))


@pytest.fixture(scope="module")
def batch():
    return patch_stream(SHAPE, batch_size=8)(jax.random.key(0))


def test_batch_is_finite_and_seeded(batch):
    again = patch_stream(SHAPE, batch_size=8)(jax.random.key(0))
    other = patch_stream(SHAPE, batch_size=8)(jax.random.key(1))
    for leaf, same in zip(jax.tree.leaves(batch), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(leaf, same)
        assert np.isfinite(leaf).all()
    assert relative_error(other.chi, batch.chi) > 0.1
    assert batch.phase.shape == (8, *SHAPE, 4)
    assert batch.geometry.voxel_size.shape == (8, 3)
    assert np.asarray(batch.mask).mean() > 0.2


def test_draws_keep_to_the_variety(batch):
    size = np.asarray(batch.geometry.voxel_size)
    assert size.min() >= 0.5
    assert size.max() <= 3.0
    assert np.asarray(batch.acquisition.field_strength).min() >= 1.5
    assert np.asarray(batch.acquisition.field_strength).max() <= 9.4
    times = np.asarray(batch.acquisition.echo_times)
    assert (np.diff(times, axis=1) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(batch.geometry.b0_dir, axis=1), 1, rtol=1e-5)


@pytest.mark.slow
def test_phase_is_that_of_the_total_field(batch):
    """Between echoes coil phase cancels: what is left is 2π γ B0 ΔTE times the field, with noise."""
    steady = patch_stream(SHAPE, batch_size=4, variety=Variety(bipolar=0.0, partial_fourier=0.0))
    drawn = steady(jax.random.key(3))
    for i in range(4):
        sensitivity = 2 * np.pi * 42.577478518 * float(drawn.acquisition.field_strength[i])
        step = float(drawn.acquisition.echo_times[i, 1] - drawn.acquisition.echo_times[i, 0])
        expected = sensitivity * step * drawn.total_field[i]
        measured = drawn.phase[i, ..., 1] - drawn.phase[i, ..., 0]
        bright = np.asarray(drawn.mask[i] & (drawn.magnitude[i, ..., 1] > 0.3))
        error = np.asarray(wrap_phase(measured - expected))[bright]
        assert np.median(np.abs(error)) < 5 / float(drawn.snr[i])


NOTHING = {
    "microstructure": (0.0, 0.0),
    "exchange": (0.0, 0.0),
    "fibre_anisotropy": (0.0, 0.0),
    "flow": (0.0, 0.0),
    "partial_fourier": 0.0,
    "interpolated": 0.0,
}
"""Of what shifts the frequency besides χ."""


@pytest.mark.slow
def test_shifts_are_those_of_tissue_and_of_k_space():
    def shifts(**options):
        return patch_stream(SHAPE, variety=Variety(**(NOTHING | options)))(jax.random.key(4))

    still, tissue, k_space = shifts(), shifts(exchange=(0.01, 0.01)), shifts(interpolated=1.0)
    inside = np.asarray(still.mask)
    assert np.abs(np.asarray(still.shift)[inside]).max() < 1e-5
    contrast = np.asarray(tissue.shift)[inside].max() / 0.01  # within its range, and white matter is there
    assert 0.5 <= contrast <= 2.001
    assert np.asarray(tissue.shift)[inside].min() > -1e-5
    assert np.std(np.asarray(k_space.shift)[inside]) > 1e-4
    np.testing.assert_allclose(tissue.total_field - still.total_field, tissue.shift, atol=1e-5)


@pytest.mark.slow
def test_noise_follows_the_snr():
    quiet, loud = (
        patch_stream(SHAPE, variety=Variety(snr=(s, s * 1.0001)))(jax.random.key(5)) for s in (1e5, 25.0)
    )
    inside = np.asarray(quiet.mask[0])
    clean = np.asarray(quiet.magnitude[0, ..., 0] * jnp.exp(1j * quiet.phase[0, ..., 0]))
    noisy = np.asarray(loud.magnitude[0, ..., 0] * jnp.exp(1j * loud.phase[0, ..., 0]))
    assert np.abs(clean)[inside].mean() == pytest.approx(1, rel=1e-3)
    assert (noisy - clean).real.std() == pytest.approx(1 / 25, rel=0.05)


@pytest.mark.slow
def test_local_and_total_field_differ_by_what_is_harmonic(batch):
    """Their difference has its sources outside the mask, so that its Laplacian vanishes well within it."""
    variety = Variety(voxel_size=(1.0, 1.001), anisotropy=(1.0, 1.001), erosion=(0.0, 0.001), pathology=0.0)
    drawn = patch_stream((32, 32, 32), batch_size=3, variety=variety)(jax.random.key(11))
    for i in range(3):
        inner = np.asarray(drawn.mask[i])
        for _ in range(3):
            for axis in range(3):
                inner = inner & np.roll(inner, 1, axis) & np.roll(inner, -1, axis)
        inner[:3] = inner[-3:] = inner[:, :3] = inner[:, -3:] = inner[..., :3] = inner[..., -3:] = False
        if inner.sum() < 200:
            continue
        rest = drawn.total_field[i] - drawn.local_field[i] - drawn.shift[i]
        background = laplacian(rest, Geometry())
        tissue = laplacian(drawn.local_field[i], Geometry())
        assert np.asarray(background)[inner].std() < 0.1 * np.asarray(tissue)[inner].std()


@pytest.mark.slow
def test_coarse_and_fine_sources_give_the_field_of_the_whole_head():
    """Fine sources near the patch and a polynomial of 5 mm cells beyond, against 1 mm voxels everywhere."""
    anatomy, shape, near_shape = template(), (48, 48, 48), (64, 64, 64)
    variety = Variety(
        voxel_size=(1.0, 1.001), anisotropy=(1.0, 1.001), erosion=(0.0, 0.001), pathology=0.0, vein_trees=1
    )
    settings = patches._settings(jax.random.split(jax.random.key(0), 1), anatomy, shape, variety)
    setting = jax.tree.map(lambda leaf: leaf[0], settings)
    subject, geometry = setting.subject, Geometry((1.0, 1.0, 1.0), setting.geometry.b0_dir)
    start = jnp.floor(setting.origin)
    first = np.floor(np.asarray(far_field._origin()) - 2)
    voxel, slab = jnp.ones(3), (244, 244, 61)
    slabs = []
    for number in range(4):
        origin = jnp.asarray(first + np.array([0, 0, 61.0 * number]))
        slabs.append(sample(subject, anatomy, slab, origin, voxel, finest=(1.0, 1.0, 1.0)))
    chi, skull = (jnp.concatenate([getattr(s, n) for s in slabs], axis=2) for n in ("chi", "skull"))
    mask = skull > 0.98
    corner = (np.asarray(start) - first).astype(int)
    part, near = (tuple(slice(a - m, a + 48 + m) for a in corner) for m in (0, patches.MARGIN))
    exact = dipole_field(chi * mask, geometry, kernel="bandlimited")[part]
    exact_rest = dipole_field(chi * ~mask - AIR_CHI, geometry, kernel="integrated")[part]
    low = start - patches.MARGIN - 0.5
    box = far_field.Box(low, low + jnp.array(near_shape))
    far = far_field.far_field(subject, anatomy, box, geometry.unit_b0_dir, tissue=True)
    axes = tuple(start[i] + jnp.arange(48.0) for i in range(3))
    inner = (slice(patches.MARGIN, -patches.MARGIN),) * 3
    local, rest = (n[inner] for n in patches._near(chi[near], mask[near], geometry, shape, 1))
    local = local + far_field.evaluate(far.within, far, axes)
    rest = rest + far_field.evaluate(far.outside, far, axes)
    brain = np.asarray(mask[part])
    for found, true, bound in ((local, exact, 0.08), (rest, exact_rest, 0.2)):
        error, truth = (np.asarray(v)[brain] for v in (found - true, true))
        assert np.std(error) < bound * np.std(truth)


def test_far_field_is_a_harmonic_polynomial_that_finds_a_harmonic_field():
    """Fitted on the coarse grid within a box, a field of distant sources is found between its points."""
    low, high = jnp.array([-40.0, -50.0, -10.0]), jnp.array([40.0, 30.0, 70.0])
    centre, scale = (low + high) / 2, jnp.linalg.norm(high - low) / 2
    source = np.array([75.0, -60.0, 110.0])

    def field(axes):
        x, y, z = (np.asarray(a)[..., None, None].swapaxes(0, i) - source[i] for i, a in enumerate(axes))
        return 1e4 * (2 * z**2 - x**2 - y**2) / (x**2 + y**2 + z**2) ** 2.5

    coarse = far_field._axes()
    weights = [((a > low[i]) & (a < high[i])).astype(float) for i, a in enumerate(coarse)]
    places = [(a - centre[i]) / scale for i, a in enumerate(coarse)]
    found = far_field._fit(jnp.asarray(field(coarse)), places=places, weights=weights)
    zero = jnp.zeros_like(found)
    polynomials = far_field.FarField(found, zero, centre, scale, jnp.zeros(9))
    axes = tuple(jnp.linspace(float(low[i]) + 1, float(high[i]) - 1, 20) for i in range(3))
    value = far_field.evaluate(found, polynomials, axes)
    assert relative_error(value, field(axes)) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("source", ["shapes", "noise"])
def test_sources_without_anatomy(source):
    drawn = patch_stream(SHAPE, batch_size=2, variety=Variety(source=source, pathology=0.0))(
        jax.random.key(0)
    )
    chi = np.asarray(drawn.chi)[np.asarray(drawn.mask)]
    assert np.isfinite(chi).all()
    assert 0.01 < chi.std() < 1


@pytest.mark.slow
def test_oversampled_signal_loses_magnitude_where_the_field_is_steep():
    options = {"bipolar": 0.0, "partial_fourier": 0.0, "voxel_size": (1.8, 2.0), "snr": (1e4, 1.01e4)}
    light = patch_stream((16, 16, 16), variety=Variety(**options))(jax.random.key(2))
    full = patch_stream((16, 16, 16), variety=Variety(oversampling=2, **options))(jax.random.key(2))
    inside = np.asarray(light.mask[0] & full.mask[0])
    assert inside.sum() > 300
    assert relative_error(full.total_field[0], light.total_field[0], inside) < 0.5
    assert np.corrcoef(np.asarray(full.chi[0])[inside], np.asarray(light.chi[0])[inside])[0, 1] > 0.6


@pytest.mark.slow
def test_a_patch_about_the_middle_holds_the_whole_brain():
    variety = Variety(voxel_size=(7.9, 8.0), longest_voxel=8.0, anisotropy=(1.0, 1.0), whole=1.0)
    draw = patch_stream((28, 28, 28), variety=variety)
    for seed in range(3):
        mask = np.asarray(draw(jax.random.key(seed)).mask[0])
        assert 0.8e6 < mask.sum() * 8.0**3 < 2.2e6  # mm³
        inner = mask[1:-1, 1:-1, 1:-1]
        assert inner.sum() == mask.sum()


@pytest.mark.slow
def test_dataset_resumes_exactly_and_shares_out():
    whole = patch_dataset(7, (16, 16, 16), batch_size=2)
    iterator = iter(whole.to_iter_dataset(grain.ReadOptions(num_threads=1)))
    first = next(iterator)
    state = iterator.get_state()
    second = next(iterator)
    resumed = iter(whole.to_iter_dataset(grain.ReadOptions(num_threads=1)))
    resumed.set_state(state)
    np.testing.assert_array_equal(next(resumed).chi, second.chi)
    shards = [patch_dataset(7, (16, 16, 16), shard_index=i, shard_count=2) for i in range(2)]
    for number in range(2):
        np.testing.assert_array_equal(shards[number][0].chi[0], first.chi[number])
    with pytest.raises(ValueError, match="shard_index"):
        patch_dataset(7, shard_index=2, shard_count=2)
