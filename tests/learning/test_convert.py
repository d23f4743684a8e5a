"""Published weights in our networks: the same images as PyTorch makes of them."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
import torch
import twins
from flax import nnx
from helpers import ball, jaxqsm_here, of_reference_data, relative_error, smooth_blobs

from jaxqsm import Acquisition, Geometry
from jaxqsm.inversion import tkd
from jaxqsm.learning import convert_weights, read_checkpoint
from jaxqsm.networks import build, load_network, measurement, parameter_count, read_notes
from jaxqsm.physics import dipole_kernel

SHAPE = (15, 16, 13)
STD = 0.03
SPINET = Path(__file__).resolve().parents[3] / "shared" / "data" / "reference_weights" / "spinet_qsm.pth"


@pytest.fixture(scope="module")
def scan():
    mask = ball(SHAPE, 6)
    chi = 0.05 * jnp.asarray(smooth_blobs(SHAPE, seed=3), jnp.float32) * mask
    geometries = [Geometry((1.0, 1.0, 1.2), b) for b in ((0.0, 0.0, 1.0), (0.0, 0.6, 0.8))]
    data = [measurement(chi, mask, g) for g in geometries]
    fields = [d.predict(chi) * mask for d in data]
    kernels = [_full(np.asarray(d.kernel)) for d in data]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *geometries)
    return mask, fields, stacked, kernels


def _full(half):
    """The kernel on the whole spectrum: it is the same at k and −k."""
    mirrored = np.roll(half[::-1, ::-1, ::-1], (1, 1), (0, 1))
    return torch.from_numpy(np.concatenate([half, mirrored[..., 1:-1]], axis=-1))


def _close(ours, theirs):
    theirs = theirs.detach().numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.ptp(theirs))


@pytest.mark.slow
def test_lpcnn_with_one_and_two_orientations(scan):
    mask, fields, geometries, kernels = scan
    twin = twins.randomise(twins.LPCNN(2, STD), 1)
    ours = convert_weights(twins.published(twin), "lpcnn", {"blocks": 2, "chi_std": STD})
    ours.eval()
    inside = torch.from_numpy(np.asarray(mask, np.float32))
    measured = [torch.from_numpy(np.array(f)) for f in fields]
    first = jax.tree.map(lambda leaf: leaf[:1], geometries)
    out = ours(fields[0][None], mask[None], first)[0]
    _close(out, twin(measured[:1], kernels[:1], inside))
    both = jax.tree.map(lambda leaf: leaf[None], geometries)
    out = ours.several(jnp.stack(fields)[None], jnp.asarray(mask)[None], both)[0]
    _close(out, twin(measured, kernels, inside))


def test_spinet_qsm(scan):
    mask, fields, geometries, kernels = scan
    twin = twins.randomise(twins.SpiNet(2, STD), 2)
    ours = convert_weights(
        twins.published(twin), "spinet_qsm", {"blocks": 2, "chi_mean": 0.0, "chi_std": STD}
    )
    ours.eval()
    geometry = jax.tree.map(lambda leaf: leaf[1:], geometries)
    out = ours(fields[1][None], mask[None], geometry)[0]
    inside = torch.from_numpy(np.asarray(mask, np.float32))
    _close(out, twin(torch.from_numpy(np.array(fields[1])), kernels[1], inside))


def test_modl_qsm(scan, tmp_path):
    """From a file as Keras writes them: layers are numbered in the order in which they were made."""
    mask, fields, geometries, kernels = scan
    weights = twins.modl_weights(2, 6)
    with h5py.File(tmp_path / "last.h5", "w") as file:
        for name, value in weights.items():
            file[name] = value
    options = {"blocks": 2, "chi_std": STD, "field_std": 0.004, "chi_mean": 0.01, "field_mean": -0.001}
    ours = convert_weights(read_checkpoint(tmp_path / "last.h5"), "modl_qsm", options)
    ours.eval()
    geometry = jax.tree.map(lambda leaf: leaf[1:], geometries)
    out = ours(fields[1][None], mask[None], geometry)[0]
    inside = torch.from_numpy(np.asarray(mask, np.float32))
    field = torch.from_numpy(np.array(fields[1]))
    statistics = torch.tensor([0.01, -0.001]), torch.tensor([STD, 0.004])
    _close(out, twins.modl_qsm(weights, field, kernels[1], inside, *statistics))


def test_a_checkpoint_of_tensorflow(tmp_path):
    """Needs TensorFlow, which the test environment does without: ``pip install tensorflow`` to run it."""
    tensorflow = pytest.importorskip("tensorflow")
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    variable = tensorflow.Variable(value)
    path = tensorflow.train.Checkpoint(weights=variable).write(str(tmp_path / "model.ckpt"))
    found = read_checkpoint(Path(f"{path}.index"))
    (name,) = (n for n in found if n.startswith("weights"))
    np.testing.assert_array_equal(found[name], value)


@pytest.mark.slow
def test_xqsm():
    twin = twins.randomise(twins.XQSM(8), 3)
    ours = convert_weights(twins.published(twin), "xqsm", {"channels": 8})
    ours.eval()
    field = np.random.default_rng(0).standard_normal((1, 16, 24, 16)).astype(np.float32)
    out = ours(jnp.asarray(field), jnp.ones(field.shape, bool))[0]
    _close(out, twin(torch.from_numpy(field)[None])[0, 0])


@pytest.mark.slow
def test_qsmnet(tmp_path):
    weights = twins.qsmnet_weights(4, 3, 4)
    np.savez(tmp_path / "weights.npz", **weights)
    options = {"channels": 4, "size": 3, "field_std": 1.0, "chi_std": 2.0, "chi_mean": 0.5}
    ours = convert_weights(read_checkpoint(tmp_path / "weights.npz"), "qsmnet", options)
    ours.eval()
    field = np.random.default_rng(0).standard_normal((1, 32, 16, 16)).astype(np.float32)
    out = ours(jnp.asarray(field), jnp.ones(field.shape, bool))[0]
    _close(out, 2 * twins.qsmnet(weights, torch.from_numpy(field)[None])[0, 0] + 0.5)


@pytest.mark.slow
def test_iqsm():
    """From wrapped phase; a whole turn more or less changes nothing."""
    twin = twins.randomise(twins.IQSM(4, 2), 5)
    ours = convert_weights(twins.published(twin), "iqsm", {"channels": 4, "depth": 2})
    ours.eval()
    phase = np.random.default_rng(0).uniform(-np.pi, np.pi, (1, 12, 16, 20)).astype(np.float32)
    mask = np.asarray(ball(phase.shape[1:], 6))[None]
    acquisition = Acquisition((0.015,), 7.0)
    out = ours.from_phase(jnp.asarray(phase), jnp.asarray(mask), acquisition)
    theirs = twin(torch.from_numpy(phase)[None], torch.from_numpy(mask.astype(np.float32))[None], 0.015, 7.0)
    _close(out[0], theirs[0, 0] * torch.from_numpy(mask[0]))
    turned = ours.from_phase(jnp.asarray(phase) + 2 * np.pi, jnp.asarray(mask), acquisition)
    np.testing.assert_allclose(turned, out, atol=1e-4 * np.ptp(np.asarray(out)))


@pytest.mark.slow
def test_iqsm_plus():
    """For one scan or several, each by its own direction."""
    twin = twins.randomise(twins.IQSMPlus(4, 2), 7)
    ours = convert_weights(twins.published(twin), "iqsm_plus", {"channels": 4, "depth": 2})
    ours.eval()
    rng = np.random.default_rng(0)
    phase = rng.uniform(-np.pi, np.pi, (2, 12, 16, 20)).astype(np.float32)
    mask = np.stack([ball(phase.shape[1:], 6)] * 2)
    directions = np.array([[0.0, 0.0, 1.0], [0.6, 0.0, 0.8]], np.float32)
    geometry, turned = (
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *[Geometry(b0_dir=d) for d in order])
        for order in (directions, directions[::-1])
    )
    out = ours.from_phase(jnp.asarray(phase), jnp.asarray(mask), Acquisition((0.015,), 7.0), geometry)
    for own, p, m, direction in zip(out, phase, mask, directions, strict=True):
        inside = torch.from_numpy(m.astype(np.float32))
        scan = torch.from_numpy(p)[None, None], inside[None, None]
        _close(own, twin(*scan, 0.015, 7.0, torch.from_numpy(direction)[None])[0, 0] * inside)
    other = ours.from_phase(jnp.asarray(phase), jnp.asarray(mask), Acquisition((0.015,), 7.0), turned)
    assert relative_error(other, out) > 1e-2
    with pytest.raises(ValueError, match="direction of the field"):
        ours.from_phase(jnp.asarray(phase), jnp.asarray(mask), Acquisition((0.015,), 7.0))


@pytest.mark.slow
def test_nextqsm_from_its_two_files(tmp_path):
    """By the command; and what pads it leaves what is scanned in the middle, as there."""
    weights = twins.nextqsm_weights(4, (3, 2), (0.001, 0.002), 6)
    first = {name: value for name, value in weights.items() if not name.startswith(("nets", "lambdas"))}
    np.savez(tmp_path / "background.npz", **first)
    np.savez(tmp_path / "variational.npz", **{n: v for n, v in weights.items() if n not in first})
    options = {"channels": 4, "background_depth": 3, "depth": 2, "iterations": 2}
    command = [sys.executable, "-m", "jaxqsm", "convert-weights", "background.npz", "variational.npz"]
    command += ["--network", "nextqsm", "--out", "nextqsm.safetensors"]
    command += [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours = load_network(tmp_path / "nextqsm.safetensors")[0]
    shape = (16, 24, 16)
    mask = np.asarray(ball(shape, 6))
    total = 0.1 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    geometry = Geometry((1.0, 1.2, 2.0), (0.0, 0.6, 0.8))
    kernel = _full(np.asarray(dipole_kernel(shape, geometry).at[0, 0, 0].set(1 / 3)))
    inside = torch.from_numpy(mask.astype(np.float32))
    local, chi = twins.nextqsm(weights, torch.from_numpy(total), inside, kernel)
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], geometry)
    _close(ours.local_field(jnp.asarray(total)[None], mask[None])[0], local)
    _close(ours(jnp.asarray(total)[None], mask[None], batch)[0], chi)
    # The ball fits into a smaller image: padded back, all is where it was.
    box = (slice(2, -1), slice(4, -3), slice(1, None))
    _close(ours(jnp.asarray(total[box])[None], mask[box][None], batch)[0], chi[box])


def test_nextqsm_from_files_of_keras(tmp_path):
    """The same network as from TensorFlow's; the names are those that Keras 3.15 wrote."""
    weights = twins.nextqsm_weights(4, (2, 1), (0.001, 0.002), 6)
    with h5py.File(tmp_path / "b.weights.h5", "w") as b, h5py.File(tmp_path / "v.weights.h5", "w") as v:
        for name, value in weights.items():
            if "lambdas" in name:
                continue
            file, path = (v, "layers/u_net/") if name.startswith("nets/") else (b, "")
            part, *number, _, _, variable = name.removesuffix(twins.OBJECT).removeprefix("nets/").split("/")
            layer = f"cnn_{number[0]}/" if number and number[0] != "0" else "cnn/" if number else ""
            kind = "conv3d_transpose" if part == "decoder" else "conv3d"
            path += f"{part}/{layer}layers/{kind}/vars/{('kernel', 'bias').index(variable)}"
            file[path] = value
    np.save(tmp_path / "lambdas.npy", np.array([0.001, 0.002], np.float32))
    options = {"channels": 4, "background_depth": 2, "depth": 1, "iterations": 2}
    files = [read_checkpoint(tmp_path / name) for name in ("b.weights.h5", "v.weights.h5", "lambdas.npy")]
    ours = convert_weights({**files[0], **files[1], **files[2]}, "nextqsm", options)
    theirs = convert_weights(weights, "nextqsm", options)
    for one, other in zip(*(jax.tree.leaves(nnx.state(n)) for n in (ours, theirs)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "twin", "count"),
    [
        ("lpcnn", lambda: twins.LPCNN(8, STD), 446_337),
        ("spinet_qsm", lambda: twins.SpiNet(8, STD), 447_234),
        ("xqsm", lambda: twins.XQSM(64), 5_215_681),
        ("qsmnet", None, 99_453_985),
        ("iqsm", lambda: twins.IQSM(16, 4), 4_305_409),
        ("iqsm_plus", lambda: twins.IQSMPlus(16, 4), 4_347_780),
        ("nextqsm", None, 38_907_368),
        ("auto_qsm", None, sum(v.size for v in twins.auto_qsm_weights(16, 3, 0).values())),
    ],
)
def test_sizes_are_the_published_ones(name, twin, count):
    assert parameter_count(nnx.eval_shape(lambda: build(name, {}))) == count
    if twin is not None:
        assert sum(p.numel() for p in twin().parameters()) == count


@pytest.mark.slow
@of_reference_data
def test_published_spinet_reconstructs_a_measured_field(tmp_path):
    """The middle of the head of the 2016 challenge, far better than truncated division does."""
    names = {"field": "phs_tissue", "mask": "msk", "truth": "chi_cosmos"}
    images = {
        name: nibabel.load(SPINET.parents[1] / "invivo_2016" / f"{file}.nii.gz")
        for name, file in names.items()
    }
    middle = (slice(40, 120),) * 3
    field, mask, truth = (np.asarray(images[name].dataobj, np.float32)[middle] for name in names)
    mask, geometry = jnp.asarray(mask > 0), Geometry(images["mask"].header.get_zooms())
    for name, values in (("field", field), ("mask", mask.astype(jnp.uint8))):
        affine = np.diag([*images["mask"].header.get_zooms(), 1.0])
        nibabel.save(nibabel.Nifti1Image(np.asarray(values), affine), tmp_path / f"{name}.nii.gz")
    weights = tmp_path / "spinet.safetensors"
    command = [sys.executable, "-m", "jaxqsm"]
    convert = [*command, "convert-weights", SPINET, "--network", "spinet_qsm", "--out", weights]
    invert = [*command, "invert", tmp_path / "field.nii.gz", "--mask", tmp_path / "mask.nii.gz"]
    invert += ["--method", "learned", "--set", f"checkpoint={weights}", "--out", tmp_path / "chi.nii.gz"]
    for line in (convert, invert):
        done = subprocess.run([str(v) for v in line], capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
    inside = np.asarray(mask)
    truth = (truth - truth[inside].mean()) * inside

    def error(out):
        out = (out - out[inside].mean()) * inside
        return float(np.linalg.norm(out - truth) / np.linalg.norm(truth))

    learned = error(np.asarray(nibabel.load(tmp_path / "chi.nii.gz").dataobj))
    assert learned < 0.75 * error(np.asarray(tkd(jnp.asarray(field), mask, geometry)))


def test_auto_qsm_patch_by_patch(tmp_path):
    """In corners where three patches fade the published order counts: there ours is their product."""
    sizes = {"patch": 16, "middle": 8, "overlap": 4}
    weights = twins.auto_qsm_weights(4, 2, 5)
    ours = convert_weights(weights, "auto_qsm", {"channels": 4, "depth": 2, "total_std": 1.0, **sizes})
    image = np.random.default_rng(0).standard_normal((19, 8, 7)).astype(np.float32)
    image -= image.mean()
    mask = jnp.ones((1, *image.shape), bool)
    _close(ours(jnp.asarray(image)[None], mask)[0], torch.from_numpy(twins.auto_qsm(weights, image, **sizes)))
    wide = np.random.default_rng(1).standard_normal((12, 12, 12)).astype(np.float32)
    wide -= wide.mean()
    out = np.asarray(ours(jnp.asarray(wide)[None], jnp.ones((1, 12, 12, 12), bool))[0])
    alone = [*range(4), *range(8, 12)]  # along two axes no patch fades
    for axis in range(3):
        part = np.ix_(*(range(12) if a == axis else alone for a in range(3)))
        theirs = twins.auto_qsm(weights, wide, **sizes)
        np.testing.assert_allclose(out[part], theirs[part], atol=1e-4 * np.ptp(theirs))


def test_the_first_release_of_iqsm_has_its_laplacian_fixed_and_keeps_the_u_net_alone(tmp_path):
    twin = twins.randomise(twins.IQSM(4, 2, filters=0), 5)
    fixed = np.array([-44 / 13, 3 / 13, 3 / 26, 1 / 13], np.float32)[np.abs(np.indices((3, 3, 3)) - 1).sum(0)]
    twin.LoT_Layer.conv_x.data = torch.from_numpy(fixed)[None, None]
    kept = {n: v for n, v in twins.published(twin).items() if "LoT_Layer" not in n}
    np.savez(tmp_path / "first.npz", **{n.removeprefix("Unet."): v for n, v in kept.items()})
    done = jaxqsm_here("convert-weights", tmp_path / "first.npz", "--network", "iqsm", "--set", "channels=4",
        "depth=2", "--out", tmp_path / "iqsm.safetensors")  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours, _ = load_network(tmp_path / "iqsm.safetensors")
    ours.eval()
    phase = np.random.default_rng(0).uniform(-np.pi, np.pi, (1, 12, 16, 20)).astype(np.float32)
    mask = np.asarray(ball(phase.shape[1:], 6))[None]
    out = ours.from_phase(jnp.asarray(phase), jnp.asarray(mask), Acquisition((0.015,), 7.0))
    theirs = twin(torch.from_numpy(phase)[None], torch.from_numpy(mask.astype(np.float32))[None], 0.015, 7.0)
    _close(out[0], theirs[0, 0] * torch.from_numpy(mask[0]))


def test_statistics_of_the_authors_are_filled_in_and_others_are_named(tmp_path):
    np.savez(tmp_path / "w.npz", **twins.published(twins.LPCNN(2, STD)))
    command = "convert-weights", tmp_path / "w.npz", "--network", "lpcnn", "--set", "blocks=2"
    for name, options, std in (("theirs", (), 0.0289), ("mine", ("chi_std=0.03", "chi_mean=0.001"), 0.03)):
        done = jaxqsm_here(*command, *options, "--out", tmp_path / f"{name}.safetensors")
        assert done.returncode == 0, done.stderr
        kept = json.loads(read_notes(tmp_path / f"{name}.safetensors")["options"])
        assert kept["chi_std"] == std
        assert ("statistics of the authors' training data" in done.stderr) == (name == "theirs")
        assert ("chi_mean 0 ppm: not known" in done.stderr) == (name == "theirs")


@of_reference_data
def test_files_that_are_not_theirs_are_refused(tmp_path):
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad\.pth: cannot be read"):
        read_checkpoint(bad)
    with pytest.raises(ValueError, match="no such file"):
        read_checkpoint(tmp_path / "none.pth")
    for suffix, word in ((".h5", "HDF5"), (".npz", "npz"), (".safetensors", "safetensors")):
        other = bad.rename(bad.with_suffix(suffix))
        with pytest.raises(ValueError, match=f"cannot be read as .*{word}"):
            read_checkpoint(other)
        bad = other
    with pytest.raises(ValueError, match=r"not weights of lpcnn: gen\.0\.weight is missing"):
        convert_weights({"a": np.zeros(1)}, "lpcnn", {})
    with pytest.raises(ValueError, match="not the weights of SpiNetQSM"):
        convert_weights(read_checkpoint(SPINET), "spinet_qsm", {"blocks": 7})
    with pytest.raises(ValueError, match="cannot be converted"):
        convert_weights({}, "unrolled", {})
