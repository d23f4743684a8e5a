import dataclasses
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SHARED, of_reference_data, relative_error

from jaxqsm import Acquisition, Geometry
from jaxqsm.phantoms import (
    TISSUES,
    Tissue,
    head,
    sphere,
)
from jaxqsm.physics import wrap_phase
from jaxqsm.simulation import simulate_scan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def phantom():
    return head((3.0, 3.0, 3.0))


def test_sphere_has_its_volume_on_any_grid():
    geometry = Geometry((1.0, 1.5, 2.0))
    chi = sphere((40, 30, 24), geometry, radius=10.0, chi=2.0)
    np.testing.assert_allclose(chi.sum() * 3.0, 2 * 4 / 3 * np.pi * 10**3, rtol=0.01)


@pytest.mark.slow
@of_reference_data
def test_labels_are_what_the_script_derives_from_the_templates(tmp_path):
    script = [sys.executable, "-m", "tools.derive_head_labels", SHARED / "data" / "head_templates"]
    subprocess.run([*map(str, script), str(tmp_path / "head.npz")], cwd=ROOT, check=True, timeout=600)
    shipped = resources.files("jaxqsm.phantoms") / "data" / "head.npz"
    with resources.as_file(shipped) as path, np.load(path) as ours, np.load(tmp_path / "head.npz") as derived:
        assert set(ours) == set(derived)
        for name in ours:
            np.testing.assert_array_equal(ours[name], derived[name])
        assert path.stat().st_size < 4_000_000


def test_head_has_every_tissue_with_its_value(phantom):
    assert set(np.unique(phantom.labels)) == {int(t) for t in Tissue}
    for tissue in (Tissue.WHITE_MATTER, Tissue.PUTAMEN, Tissue.THALAMUS, Tissue.CSF, Tissue.AIR):
        inside = phantom.labels == tissue
        mean = float(np.mean(np.asarray(phantom.chi)[inside]))
        # Borders at 3 mm blend with neighbours of up to a few tenths of ppm (air: 9 ppm).
        assert abs(mean - TISSUES[tissue].chi) < (0.06 if tissue is not Tissue.AIR else 1.0), tissue


def test_head_is_not_piecewise_constant_but_smooth(phantom):
    flat = head((3.0, 3.0, 3.0), texture=0.0)
    white = phantom.labels == Tissue.WHITE_MATTER
    texture = np.asarray(phantom.chi - flat.chi)[white]
    assert 0.003 < texture.std() < 0.03
    assert abs(texture.mean()) < 0.003


def test_mask_is_the_brain(phantom):
    volume = phantom.mask.sum() * 27 / 1000
    assert 1300 < volume < 2300  # cm³, with fluid and vessels
    outside = {Tissue.AIR, Tissue.BONE, Tissue.MUSCLE}
    wrong = np.isin(phantom.labels[phantom.mask], [int(t) for t in outside]).mean()
    assert wrong < 0.03


def test_relaxation_quickens_with_field_strength():
    low, high = head((4.0, 4.0, 4.0)), head((4.0, 4.0, 4.0), field_strength=7.0)
    white = low.labels == Tissue.WHITE_MATTER
    assert np.asarray(high.r2star)[white].mean() > 1.3 * np.asarray(low.r2star)[white].mean()
    assert np.asarray(high.t1)[white].mean() > 1.1 * np.asarray(low.t1)[white].mean()


def test_anisotropic_grid_covers_the_same_head():
    coarse = head((2.0, 4.0, 3.0))
    assert coarse.mask.sum() * 24 == pytest.approx(head((3.0, 3.0, 3.0)).mask.sum() * 27, rel=0.03)
    with pytest.raises(ValueError, match="voxel_size"):
        head((1.0, -1.0, 1.0))


def test_scan_carries_its_total_field(phantom):
    geometry = Geometry((3.0, 3.0, 3.0), (0.2, 0.0, 0.98))
    acquisition = Acquisition((0.002, 0.004), 3.0)
    scan = simulate_scan(phantom, geometry, acquisition, snr=np.inf, key=jax.random.key(0))
    change = jnp.angle(scan.signal[..., 1] * jnp.conj(scan.signal[..., 0]))
    expected = wrap_phase(2 * np.pi * 42.577478518 * 3 * 0.002 * scan.total_field)
    visible = phantom.mask & (np.abs(np.asarray(expected)) < 3)
    np.testing.assert_allclose(np.asarray(change)[visible], np.asarray(expected)[visible], atol=2e-3)
    offset = scan.signal[..., 0] * jnp.exp(-1j * scan.phase_offset)
    first = wrap_phase(jnp.angle(offset) - 2 * np.pi * 42.577478518 * 3 * 0.002 * scan.total_field)
    assert np.abs(np.asarray(first)[phantom.mask]).max() < 2e-3


def test_noise_follows_the_stated_snr_and_key(phantom):
    acquisition = Acquisition((0.004,), 3.0)
    options = {"geometry": Geometry((3.0, 3.0, 3.0)), "acquisition": acquisition}
    clean = simulate_scan(phantom, snr=np.inf, **options, key=jax.random.key(1))
    noisy = simulate_scan(phantom, snr=50.0, **options, key=jax.random.key(1))
    again = simulate_scan(phantom, snr=50.0, **options, key=jax.random.key(1))
    noise = np.asarray(noisy.signal - clean.signal)
    level = np.abs(np.asarray(clean.signal))[phantom.mask].mean()
    np.testing.assert_allclose(level / noise.real.std(), 50, rtol=0.02)
    np.testing.assert_array_equal(noisy.signal, again.signal)


def test_local_field_is_linear_in_the_brain_alone(phantom):
    """Air outside the mask must not reach the local field."""
    options = {"geometry": Geometry((3.0, 3.0, 3.0)), "acquisition": Acquisition((0.004,), 3.0)}
    scan = simulate_scan(phantom, snr=np.inf, **options, key=jax.random.key(0))
    vacuum = dataclasses.replace(phantom, chi=phantom.chi * phantom.mask)
    bare = simulate_scan(vacuum, snr=np.inf, **options, key=jax.random.key(0))
    assert relative_error(scan.local_field, bare.local_field) < 1e-5
    assert relative_error(scan.total_field, bare.total_field) > 1
