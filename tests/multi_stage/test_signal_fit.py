"""From the complex signal to χ: what no unwrapping or background removal has seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import BRAIN_SHAPE as SHAPE
from helpers import assert_gradient, ball, brain_of_blocks, jaxqsm, relative_error, smooth_blobs

from jaxqsm import Acquisition, Geometry
from jaxqsm.field_mapping import centre_frequency
from jaxqsm.io import load, save
from jaxqsm.masking import object_scale
from jaxqsm.multi_stage import signal_fit
from jaxqsm.physics import add_complex_noise, dipole_field, gre_signal
from jaxqsm.pipeline import Config, reconstruct
from jaxqsm.variational.common import referenced

GEOMETRY = Geometry((1.0, 1.1, 1.4), (0.3, 0.4, 0.85))
ACQUISITION = Acquisition((0.004, 0.010, 0.016, 0.022), 3.0)
OPTIONS = {"radii": (6.0, 3.0, 2.0)}
"""Of the small balls that fit into a small head."""


@pytest.fixture(scope="module")
def scan():
    """A wrapping phase with a smooth offset: blocks in a ball, much stronger sources beyond it."""
    mask, chi = brain_of_blocks()
    chi = jnp.asarray(chi)
    outside = jnp.zeros(SHAPE).at[2:6, 14:20, 2:6].set(30.0).at[30:36, 30:34, 10:16].set(-20.0)
    total = dipole_field(chi + outside, GEOMETRY, kernel="integrated") + 0.3
    x = jnp.linspace(-1, 1, SHAPE[0])[:, None, None]
    offset = 0.8 + 1.5 * x + jnp.zeros(SHAPE)
    r2star = 20 + 100 * jnp.maximum(chi, 0)
    signal = gre_signal(total, ACQUISITION, m0=100.0, r2star=r2star, phase_offset=offset)
    signal = add_complex_noise(signal, 1.0, key=jax.random.key(0)) * mask[..., None]
    turns = jnp.abs(total * ACQUISITION.phase_per_ppm[-1])[jnp.asarray(mask)] / (2 * jnp.pi)
    assert float(turns.max()) > 3
    return chi, total, offset, r2star, signal, jnp.asarray(mask)


@pytest.fixture(scope="module")
def fit(scan):
    *_, signal, mask = scan
    return signal_fit(signal, mask, GEOMETRY, ACQUISITION, **OPTIONS)


def _error(found, chi):
    return relative_error(found.chi, referenced(chi, found.mask), found.mask)


def test_finds_everything_that_made_the_signal(scan, fit):
    chi, total, offset, r2star, _, mask = scan
    assert _error(fit, chi) < 0.45
    assert float(fit.mask.sum() / mask.sum()) > 0.6
    sure = np.asarray(mask & (fit.reliability > 0.9))
    assert sure.sum() > 0.97 * mask.sum()
    difference = np.asarray(fit.total_field - total)[sure]
    difference -= np.median(difference)
    # Field and offset are told apart by echo times alone; whole turns would be 0.4 ppm.
    assert np.quantile(np.abs(difference), 0.99) < 0.03
    turned = np.angle(np.exp(1j * np.asarray(fit.phase_offset - offset)))[sure]
    assert np.abs(turned - np.median(turned)).mean() < 0.15
    assert relative_error(fit.r2star, r2star, sure) < 0.1


def test_wrong_direction_voxel_size_or_sign_is_worse(scan, fit):
    chi, *_, signal, mask = scan
    right = _error(fit, chi)
    turned = Geometry(GEOMETRY.voxel_size, (0.3, -0.4, 0.85))
    squeezed = Geometry((1.4, 1.1, 1.0), GEOMETRY.b0_dir)
    for s, g in ((signal, turned), (signal, squeezed), (jnp.conj(signal), GEOMETRY)):
        assert _error(signal_fit(s, mask, g, ACQUISITION, **OPTIONS), chi) > right + 0.05


def test_unit_of_the_signal_and_phase_of_the_receiver_do_not_matter(scan, fit):
    *_, signal, mask = scan
    again = signal_fit(7.0 * signal * jnp.exp(2.0j), mask, GEOMETRY, ACQUISITION, **OPTIONS)
    assert relative_error(again.chi, fit.chi) < 1e-2


@pytest.mark.slow
def test_pipeline_and_command_take_it(scan, fit, tmp_path):
    *_, signal, mask = scan
    config = Config(signal="signal_fit", options={"signal_fit": OPTIONS})
    assert list(config.plan(4).steps) == ["signal"]
    maps = reconstruct(signal, mask, GEOMETRY, ACQUISITION, config)
    # The pipeline takes the receiver's frequency off first.
    turns = centre_frequency(signal, mask, ACQUISITION) * ACQUISITION.echo_times
    centred = signal * jnp.exp(-2j * jnp.pi * turns)
    alone = signal_fit(centred, mask, GEOMETRY, ACQUISITION, **OPTIONS)
    assert relative_error(maps.chi, alone.chi) < 1e-3
    assert relative_error(maps.chi, fit.chi) < 5e-3
    affine = np.diag([1.0, 1.1, 1.4, 1.0])
    save(tmp_path / "phase.nii.gz", np.angle(signal).astype(np.float32), affine)
    save(tmp_path / "mag.nii.gz", np.abs(signal).astype(np.float32), affine)
    save(tmp_path / "mask.nii.gz", np.asarray(mask), affine)
    done = jaxqsm(
        "run", "--phase", tmp_path / "phase.nii.gz", "--magnitude", tmp_path / "mag.nii.gz", "--mask",
        tmp_path / "mask.nii.gz", "--echo-times", *(0.004, 0.010, 0.016, 0.022), "--field-strength", 3,
        "--b0-dir", 0.3, 0.4, 0.85, "--signal", "signal_fit", "--set", "signal_fit.radii=[6, 3, 2]",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = load(tmp_path / "out" / "chimap.nii.gz").data
    # The command takes the default weight of an object of this size, and the radii as they are.
    scale = float(object_scale(mask, GEOMETRY))
    radii = tuple(radius / scale for radius in OPTIONS["radii"])
    sized = signal_fit(centred, mask, GEOMETRY.scaled(1 / scale), ACQUISITION, radii=radii)
    assert relative_error(written, sized.chi) < 0.02


def test_one_echo_is_refused(scan):
    *_, signal, mask = scan
    with pytest.raises(ValueError, match="two echoes"):
        signal_fit(signal[..., :1], mask, GEOMETRY, Acquisition((0.02,), 3.0))


@pytest.mark.slow
def test_gradient_with_respect_to_the_signal(x64):
    shape = (16, 16, 14)
    mask = jnp.asarray(ball(shape, 6))
    chi = jnp.asarray(0.1 * smooth_blobs(shape)) * mask
    signal = gre_signal(dipole_field(chi, GEOMETRY) + 0.05, ACQUISITION, m0=1.0, r2star=20.0)
    weight = jnp.asarray(np.random.default_rng(0).standard_normal(shape))

    def loss(signal):
        found = signal_fit(
            signal, mask, GEOMETRY, ACQUISITION, radii=(3.0, 2.0), outer_iterations=2, edges=0.0,
            tolerance=1e-9, max_iterations=3000,
        )  # fmt: skip
        return jnp.sum(weight * found.chi)

    assert_gradient(loss, signal, rtol=2e-2)
