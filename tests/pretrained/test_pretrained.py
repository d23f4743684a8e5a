"""The shipped network: nearer to the truth than where it starts, scaling, differentiable, and a command."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
from helpers import ball, relative_error, smooth_blobs

from jaxqsm import Geometry
from jaxqsm.inversion import tv
from jaxqsm.metrics import xsim
from jaxqsm.networks import load_network, measurement, parameter_count
from jaxqsm.networks.blocks import convolution
from jaxqsm.phantoms import head
from jaxqsm.physics import dipole_field, wrap_phase
from jaxqsm.pretrained import learned, learned_single_step, learned_unwrapping
from jaxqsm.pretrained.trained import WEIGHTS
from jaxqsm.single_step import ss_tv
from jaxqsm.variational.common import referenced

SHAPE = (24, 20, 22)


@pytest.fixture(scope="module")
def scan():
    mask = jnp.asarray(ball(SHAPE, 9))
    chi = 0.05 * jnp.asarray(smooth_blobs(SHAPE, seed=1), jnp.float32) * mask
    geometry = Geometry((1.0, 1.0, 1.5), (0.0, 0.6, 0.8))
    return measurement(chi, mask, geometry).predict(chi) * mask, mask, geometry


@pytest.mark.slow
@pytest.mark.parametrize("tilt", [0.0, 35.0])
def test_is_nearer_to_a_head_than_total_variation(tilt):
    """With the noise of SNR 100 at 3 T; the head is cut to its middle to save time."""
    phantom = head((2.0, 2.0, 2.0))
    middle = tuple(slice(n // 2 - 24, n // 2 + 24) for n in phantom.mask.shape)
    mask = jnp.asarray(np.asarray(phantom.mask)[middle])
    chi = jnp.asarray(np.asarray(phantom.chi)[middle]) * mask
    angle = np.radians(tilt)
    geometry = Geometry((2.0, 2.0, 2.0), (np.sin(angle), 0.0, np.cos(angle)))
    field = dipole_field(chi, geometry) + 0.001 * jax.random.normal(jax.random.key(1), mask.shape)
    truth = (chi - jnp.sum(chi) / mask.sum()) * mask
    ours, theirs = (relative_error(f(field * mask, mask, geometry), truth, mask) for f in (learned, tv))
    assert ours < 0.95 * theirs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bits", "bound"), [pytest.param(10, 3e-4, id="TF32"), pytest.param(7, 3e-3, id="bfloat16")]
)
def test_products_of_fewer_digits_change_little(scan, monkeypatch, bits, bound):
    """Factors rounded as a GPU or TPU does at its default precision, which is not ours."""
    exact = learned(*scan)
    plain = convolution._on_cpu

    def rounded(images, kernel):
        return plain(*(jax.lax.reduce_precision(v, 8, bits) for v in (images, kernel)))

    monkeypatch.setattr(convolution, "_on_cpu", rounded)
    jax.clear_caches()
    try:
        change = relative_error(learned(*scan), exact, scan[1])
    finally:
        monkeypatch.undo()
        jax.clear_caches()
    assert 1e-5 < change < bound


@pytest.mark.slow
def test_scales_and_is_told_of_magnitude(scan):
    field, mask, geometry = scan
    chi = learned(field, mask, geometry)
    np.testing.assert_allclose(learned(3 * field, mask, geometry), 3 * chi, atol=1e-4 * jnp.abs(chi).max())
    assert abs(float(jnp.sum(chi))) < 1e-3
    assert float(jnp.abs(jnp.where(mask, 0, chi)).max()) == 0
    magnitude = mask.at[12, 10, 11].set(False).astype(float)
    spoiled = field.at[12, 10, 11].set(5.0)
    with_hole = learned(field, mask, geometry, magnitude=magnitude)
    np.testing.assert_allclose(
        learned(spoiled, mask, geometry, magnitude=magnitude), with_hole, atol=1e-5 * jnp.abs(chi).max()
    )


@pytest.mark.slow
def test_gradient_is_that_of_finite_differences(scan, x64):
    """From a given start: total variation ends early, where its implicit derivative is not exact."""
    field, mask, geometry = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), scan)
    field = field.astype(float)
    network, _ = load_network(WEIGHTS / "learned.safetensors")
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (mask, geometry, None))
    start = network.start(field[None], *batch)
    direction = jnp.asarray(smooth_blobs(SHAPE, seed=7)) * mask * 0.01

    def loss(field):
        return jnp.sum(network(field[None], *batch, start) ** 2)

    value = jnp.sum(jax.jit(jax.grad(loss))(field) * direction)
    step = 1e-3
    difference = (loss(field + step * direction) - loss(field - step * direction)) / (2 * step)
    assert float(value) == pytest.approx(float(difference), rel=1e-3)


@pytest.mark.slow
def test_differentiable_and_mapped(scan):
    field, mask, geometry = scan
    direction = jnp.asarray(smooth_blobs(SHAPE, seed=7), jnp.float32) * mask * 0.01
    gradient = jax.jit(jax.grad(lambda f: jnp.sum(learned(f, mask, geometry) ** 2)))(field)
    assert bool(jnp.isfinite(gradient).all())
    # χ scales with the field, so the loss does with its square: Euler's identity holds for any solver.
    loss = jnp.sum(learned(field, mask, geometry) ** 2)
    assert float(jnp.vdot(gradient, field)) == pytest.approx(2 * float(loss), rel=0.1)
    both = jax.vmap(lambda f: learned(f, mask, geometry))(jnp.stack([field, direction]))
    alone = learned(direction, mask, geometry)
    np.testing.assert_allclose(both[1], alone, atol=1e-4 * float(jnp.abs(alone).max()))


def test_weights_are_small_and_say_where_they_come_from():
    path = WEIGHTS / "learned.safetensors"
    assert path.stat().st_size < 10e6
    network, notes = load_network(path)
    assert parameter_count(network) > 1e5
    assert notes["task"] == "inversion"
    card = path.with_suffix(".md").read_text()
    assert f"{int(notes['steps']):,}".replace(",", " ") in card


def test_the_command_names_weights_that_are_none(tmp_path):
    for name, values in (("field", np.ones((8, 8, 8))), ("mask", np.ones((8, 8, 8), np.uint8))):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    for weights, words in (
        ("bad.safetensors", "cannot be read as safetensors"),
        ("best", "nor one of denoiser"),
    ):
        line = [sys.executable, "-m", "jaxqsm", "invert", "field.nii.gz", "--mask", "mask.nii.gz"]
        line += ["--method", "learned", "--set", f"checkpoint={weights}", "--out", "chi.nii.gz"]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert words in done.stderr
        assert not (tmp_path / "chi.nii.gz").exists()


def test_unwrapping_adds_whole_turns_to_each_echo():
    shape, geometry = (32, 28, 24), Geometry((1.0, 1.2, 1.5))
    x, y, z = np.indices(shape)
    truth = 0.7 * (x - 16) - 0.4 * (y - 14) + 0.5 * (z - 12) + 6 * smooth_blobs(shape)
    echoes = jnp.asarray(np.stack([truth, 0.5 * truth], axis=-1), jnp.float32)
    noise = 0.2 * jnp.asarray(np.random.default_rng(0).standard_normal(echoes.shape), jnp.float32)
    mask = jnp.asarray(ball(shape, 11))
    wrapped = wrap_phase(echoes + noise)
    unwrapped = jax.jit(lambda w: learned_unwrapping(w, mask, geometry))(wrapped)
    turns = np.asarray((unwrapped - wrapped) / (2 * np.pi))[mask]
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-4)
    away = np.asarray(unwrapped - echoes)[mask]
    assert np.mean(np.abs(away - np.median(away, axis=0)) > np.pi) < 0.002
    assert float(jnp.abs(jnp.where(mask[..., None], 0, unwrapped)).max()) == 0
    alone = learned_unwrapping(wrapped[..., 0], mask, geometry)
    np.testing.assert_allclose(alone, unwrapped[..., 0], atol=1e-4)


@pytest.mark.slow
def test_the_single_step_corrects_its_start():
    """In structure, with the background of strong sources outside and the noise of SNR 100 at 3 T."""
    phantom = head((2.0, 2.0, 2.0))
    middle = tuple(slice(n // 2 - 26, n // 2 + 26) for n in phantom.mask.shape)
    geometry = Geometry((2.0, 2.0, 2.0), (0.0, 0.5, 0.866))
    mask = jnp.zeros(phantom.mask.shape, bool).at[middle].set(np.asarray(phantom.mask)[middle])
    chi = jnp.asarray(phantom.chi) * mask
    outside = jnp.zeros(mask.shape).at[10:16, 40:50, 20:26].set(9.0)
    noise = 0.001 * jax.random.normal(jax.random.key(1), mask.shape)
    total = (dipole_field(chi + outside, geometry) + noise) * mask
    total, mask, chi = total[middle], mask[middle], chi[middle]
    found, valid = learned_single_step(total, mask, geometry)
    start, same = ss_tv(total, mask, geometry)
    np.testing.assert_array_equal(valid, same)
    truth = chi * valid
    assert float(xsim(found, truth, valid)) > float(xsim(start, truth, valid))
    assert relative_error(found, referenced(truth, valid), valid) < 0.4
    with pytest.raises(ValueError, match="trained for inversion"):
        learned_single_step(total, mask, geometry, checkpoint="learned")
