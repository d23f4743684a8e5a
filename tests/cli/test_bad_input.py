"""Bad input gets one clear line, exit code 2, and leaves nothing half-written."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
from flax import nnx
from helpers import INVIVO, assert_refused, jaxqsm_here, of_reference_data

from jaxqsm.methods import METHODS, Method
from jaxqsm.networks import load_network, save_weights
from jaxqsm.pretrained.trained import WEIGHTS

pytestmark = of_reference_data
PHASE, MAGNITUDE = INVIVO / "phase.nii.gz", INVIVO / "mag.nii.gz"
GIVEN = (
    "--echo-times",
    0.004,
    0.008,
    0.012,
    "--field-strength",
    7,
    "--background",
    "v_sharp",
    "--inversion",
    "tkd",
)


def _changed(path, source, change=lambda data: data, affine=None):
    image = nib.load(source)
    data = change(np.asarray(image.dataobj).astype(np.float32))
    nib.save(nib.Nifti1Image(data, image.affine if affine is None else affine), path)
    return path


def _run(out, *arguments, phase=PHASE, magnitude=MAGNITUDE, given=GIVEN, command=jaxqsm_here):
    images = ("--phase", phase, "--magnitude", magnitude)
    return command("run", *images, "--out", out, *given, *arguments)


def _assert_nothing_written(folder, allowed=()):
    left = {str(p.relative_to(folder)) for p in folder.rglob("*")}
    assert left <= set(allowed), left


def test_no_sidecar_and_no_echo_times(tmp_path):
    done = _run(tmp_path / "out", given=("--field-strength", 7))
    assert_refused(done, "phase.nii.gz", "EchoTime", "--echo-times")
    _assert_nothing_written(tmp_path)


def test_no_field_strength(tmp_path):
    done = _run(tmp_path / "out", given=("--echo-times", 0.004, 0.008, 0.012))
    assert_refused(done, "MagneticFieldStrength", "--field-strength")


def test_magnitude_and_phase_of_different_shape(tmp_path):
    magnitude = _changed(tmp_path / "m.nii.gz", MAGNITUDE, lambda d: d[:-1])
    done = _run(tmp_path / "out", magnitude=magnitude)
    assert_refused(done, "m.nii.gz", "phase.nii.gz", "(50, 51, 41)", "(51, 51, 41)")
    _assert_nothing_written(tmp_path, ["m.nii.gz"])


def test_differing_affines(tmp_path):
    affine = nib.load(MAGNITUDE).affine.copy()
    affine[0, 3] += 1
    magnitude = _changed(tmp_path / "m.nii.gz", MAGNITUDE, affine=affine)
    done = _run(tmp_path / "out", magnitude=magnitude)
    assert_refused(done, "m.nii.gz", "affine", "resample")
    _assert_nothing_written(tmp_path, ["m.nii.gz"])


def test_all_zero_mask(tmp_path):
    mask = _changed(tmp_path / "mask.nii.gz", MAGNITUDE, lambda d: 0 * d[..., 0])
    done = _run(tmp_path / "out", "--mask", mask)
    assert_refused(done, "mask.nii.gz", "empty")
    _assert_nothing_written(tmp_path, ["mask.nii.gz"])


def _spoil(data):
    data[20, 20, 20, 0], data[21, 20, 20, 1] = np.nan, np.inf
    return data


def test_nan_voxels_are_refused_or_replaced_when_asked(tmp_path):
    phase = _changed(tmp_path / "p.nii.gz", PHASE, _spoil)
    done = _run(tmp_path / "out", phase=phase)
    assert_refused(done, "p.nii.gz", "2 voxels", "--replace-nonfinite")
    _assert_nothing_written(tmp_path, ["p.nii.gz"])
    done = _run(tmp_path / "out", "--replace-nonfinite", phase=phase)
    assert done.returncode == 0, done.stderr
    assert np.isfinite(nib.load(tmp_path / "out" / "chimap.nii.gz").get_fdata()).all()


def test_truncated_file(tmp_path):
    (tmp_path / "p.nii.gz").write_bytes(PHASE.read_bytes()[:100_000])
    done = _run(tmp_path / "out", phase=tmp_path / "p.nii.gz")
    assert_refused(done, "p.nii.gz", "truncated")
    _assert_nothing_written(tmp_path, ["p.nii.gz"])


def test_one_echo_where_two_are_needed(tmp_path):
    phase = _changed(tmp_path / "p.nii.gz", PHASE, lambda d: d[..., 0])
    magnitude = _changed(tmp_path / "m.nii.gz", MAGNITUDE, lambda d: d[..., 0])
    given = ("--echo-times", 0.004, "--field-strength", 7, "--background", "v_sharp", "--inversion", "tkd")
    files = {"phase": phase, "magnitude": magnitude, "given": given}
    done = _run(tmp_path / "out", "--phase-offset", "mcpc_3d_s", **files)
    assert_refused(done, "p.nii.gz", "two echoes")
    _assert_nothing_written(tmp_path, ["p.nii.gz", "m.nii.gz"])
    done = _run(tmp_path / "out", **files)
    assert done.returncode == 0, done.stderr


def test_existing_output_stays(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "chimap.nii.gz").write_text("precious")
    (out / "notes.txt").write_text("mine")
    done = _run(out)
    assert_refused(done, "out", "--overwrite")
    assert (out / "chimap.nii.gz").read_text() == "precious"
    done = _run(out, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert nib.load(out / "chimap.nii.gz").shape == (51, 51, 41)
    assert (out / "notes.txt").read_text() == "mine"


def test_read_only_output_folder(tmp_path):
    # Root may write anywhere, except into a file system that has no files to make.
    locked = "/proc" if os.geteuid() == 0 else str(tmp_path / "locked")
    if os.geteuid() != 0:
        os.mkdir(locked, 0o555)
    done = _run(f"{locked}/out")
    assert_refused(done, locked, "cannot be written", "permissions")


def test_full_disk(tmp_path):
    """A limit on file size stands in for a full disk: writing fails midway."""

    def limited(*arguments):
        shell = ["bash", "-c", 'ulimit -f 146; exec "$@"', "bash", sys.executable, "-m", "jaxqsm"]
        return subprocess.run([*shell, *map(str, arguments)], capture_output=True, text=True)

    done = _run(tmp_path / "out", command=limited)
    assert_refused(done, "out", "free space")
    _assert_nothing_written(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "mentions"),
    [
        (("run",), "--out"),
        (("run", "--out", "x"), "--phase"),
        (("run", "--phase", PHASE, "--out", "x", "--frobnicate"), "--frobnicate"),
        (("invert", PHASE, "--mask", PHASE, "--out", "x.nii.gz", "--method", "magic"), "magic"),
        (("invert", PHASE, "--mask", PHASE, "--out", "x.nii.gz", "--set", "weight=heavy"), "heavy"),
        (("invert", PHASE, "--mask", PHASE, "--out", "x.mat"), ".nii.gz"),
        (("bids", "/nowhere", "out", "participant"), "/nowhere"),
        (("simulate", "--out", "x", "--echo-times", "4"), "seconds"),
        (("simulate", "--out", "x", "--partial-fourier", "0.3"), "--partial-fourier"),
        (("simulate", "--out", "x", "--shim-order", "3"), "--shim-order"),
        (("simulate", "--out", "x", "--b0-dir", "inf", "0", "1"), "--b0-dir"),
        (("simulate", "--out", "x", "--oversampling", "0"), "--oversampling"),
        (("simulate", "--out", "x", "--count", "2", "--subject", "anna"), "--subject"),
        (("simulate", "--out", "x", "--phantom", "random", "--age", "-1"), "--age"),
        (("simulate", "--out", "x", "--pathology", "2"), "--pathology"),
        (("evaluation-set", "--out", "x", "--scans", "best"), "--scans best"),
        (("stress", "--out", "x", "--method", "guess"), "--method guess"),
        (("stress", "--out", "x", "--method", "tv", "--sweeps", "luck"), "--sweeps luck"),
        (("stress", "--out", "x", "--method", "tv", "pdf"), "one stage at a time"),
        (
            ("stress", "--out", "x", "--method", "pdf", "--sweeps", "residual_background"),
            "unknown for background",
        ),
        (("stress", "--out", "x", "--method", "tv", "--set", "tv.speed=1"), "speed"),
        (("stress", "--out", "x", "--method", "tv", "--set", "ndi.max_iterations=1"), "METHOD.OPTION=VALUE"),
        (("stress", "--out", "x", "--method", "tv", "--voxel-size", "9"), "--voxel-size"),
    ],
)
def test_wrong_usage(tmp_path, monkeypatch, arguments, mentions):
    monkeypatch.chdir(tmp_path)
    done = jaxqsm_here(*arguments)
    assert_refused(done, mentions)
    _assert_nothing_written(tmp_path)


def test_a_result_that_is_not_finite_is_not_written(tmp_path, monkeypatch):
    """Whatever the method: here one whose map has a hole of NaN."""
    field = _changed(tmp_path / "field.nii.gz", MAGNITUDE, lambda d: 1e-4 * d[..., 0])
    mask = _changed(tmp_path / "mask.nii.gz", MAGNITUDE, lambda d: 1.0 * (d[..., 0] > 0))

    def broken(local_field, mask, geometry):
        return jnp.where(mask, local_field, 0).at[9, 9, 9].set(jnp.nan)

    monkeypatch.setitem(METHODS["inversion"], "tkd", Method("inversion", "tkd", broken))
    files = (field, "--mask", mask, "--b0-dir", 0, 0, 1)
    done = jaxqsm_here("invert", *files, "--method", "tkd", "--out", tmp_path / "chi.nii.gz")
    assert_refused(done, "chi.nii.gz", "1 of", "NaN", "nothing is written")
    done = _run(tmp_path / "out")
    assert_refused(done, "phase.nii.gz", "chi", "NaN")
    _assert_nothing_written(tmp_path, ["field.nii.gz", "mask.nii.gz"])


def test_weights_of_a_network_that_are_not_finite_are_refused(tmp_path):
    network, notes = load_network(WEIGHTS / "learned.safetensors")
    state = nnx.state(network)
    state = jax.tree.map(lambda v: v.at[(0,) * v.ndim].set(jnp.nan) if v.ndim == 5 else v, state)
    save_weights(tmp_path / "w.safetensors", notes["network"], json.loads(notes["options"]), state, {})
    field = _changed(tmp_path / "field.nii.gz", MAGNITUDE, lambda d: 1e-4 * d[..., 0])
    files = (field, "--mask", _changed(tmp_path / "mask.nii.gz", MAGNITUDE, lambda d: 1.0 * (d[..., 0] > 0)))
    done = jaxqsm_here(
        "invert", *files, "--b0-dir", 0, 0, 1, "--method", "learned",
        "--set", f"checkpoint={tmp_path / 'w.safetensors'}", "--out", tmp_path / "chi.nii.gz",
    )  # fmt: skip
    assert_refused(done, "w.safetensors", "NaN", "diverged")
    assert not (tmp_path / "chi.nii.gz").exists()
