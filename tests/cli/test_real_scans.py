"""Datasets, complex images, masks and surroundings that real people have, through the commands."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers import assert_refused, jaxqsm_here
from scans import save_nifti, small_scan, write_whole

SCAN = small_scan()
FAST = ("--background", "v_sharp", "--inversion", "tkd")
SIDECAR = {"EchoTime": SCAN.echo_times, "MagneticFieldStrength": 3}


def _write_bids(root, names, sidecars):
    """Images by name below sub-1/anat, and JSON files by path below the root."""
    parts = {"phase": SCAN.phase, "mag": SCAN.magnitude, "real": SCAN.signal.real, "imag": SCAN.signal.imag}
    for name in names:
        part = next((p for p in parts if f"part-{p}" in name), "mag")
        save_nifti(root / "sub-1" / "anat" / name, parts[part].astype(np.float32), SCAN.affine)
    for path, content in sidecars.items():
        (root / path).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("names", "sidecars", "maps"),
    [
        pytest.param(
            ["sub-1_part-phase_MEGRE.nii.gz", "sub-1_part-mag_MEGRE.nii.gz"],
            {"MEGRE.json": SIDECAR},
            ["sub-1"],
            id="inherited from the root",
        ),
        pytest.param(
            ["sub-1_part-phase_MEGRE.nii.gz", "sub-1_part-mag_MEGRE.nii.gz"],
            {"sub-1/anat/sub-1_MEGRE.json": SIDECAR, "MEGRE.json": {"EchoTime": 7}},
            ["sub-1"],
            id="one for both parts, nearer than the root's",
        ),
        pytest.param(
            ["sub-1_part-phase_MEGRE.nii.gz", "sub-1_MEGRE.nii"],
            {"MEGRE.json": SIDECAR},
            ["sub-1"],
            id="magnitude without part, uncompressed",
        ),
        pytest.param(
            [f"sub-1_part-{p}_MEGRE.{e}" for p in ("phase", "mag") for e in ("nii", "nii.gz")],
            {"MEGRE.json": SIDECAR},
            ["sub-1"],
            id="every image twice",
        ),
        pytest.param(
            ["sub-1_part-real_MEGRE.nii.gz", "sub-1_part-imag_MEGRE.nii.gz"],
            {"MEGRE.json": SIDECAR},
            ["sub-1"],
            id="real and imaginary parts",
        ),
        pytest.param(
            [f"sub-1_part-{p}_{s}.nii.gz" for p in ("phase", "mag") for s in ("MEGRE", "T2starw")],
            {"MEGRE.json": SIDECAR, "T2starw.json": SIDECAR},
            ["sub-1_acq-MEGRE", "sub-1_acq-T2starw"],
            id="two suffixes",
        ),
    ],
)
def test_datasets_as_people_have_them(tmp_path, names, sidecars, maps):
    _write_bids(tmp_path / "raw", names, sidecars)
    done = jaxqsm_here("bids", tmp_path / "raw", tmp_path / "out", "participant", *FAST)
    assert done.returncode == 0, done.stderr
    found = sorted(p.name for p in (tmp_path / "out").rglob("*Chimap.nii.gz"))
    assert found == [f"{name}_Chimap.nii.gz" for name in maps]


def test_bids_has_the_options_that_it_advises(tmp_path):
    names = ["sub-1_part-phase_MEGRE.nii.gz", "sub-1_part-mag_MEGRE.nii.gz"]
    _write_bids(tmp_path / "raw", names, {})
    arguments = ("bids", tmp_path / "raw", tmp_path / "out", "participant", *FAST)
    done = jaxqsm_here(*arguments)
    assert done.returncode == 1
    assert "--echo-times" in done.stderr
    done = jaxqsm_here(*arguments, "--echo-times", *SCAN.echo_times)
    assert done.returncode == 1
    assert "--field-strength" in done.stderr
    done = jaxqsm_here(*arguments, "--echo-times", *SCAN.echo_times, "--field-strength", 3, "--erosion", 3)
    assert done.returncode == 0, done.stderr
    assert "3 mm were taken off" in done.stderr
    _write_bids(tmp_path / "alone", ["sub-1_part-mag_MEGRE.nii.gz"], {})
    assert_refused(jaxqsm_here("bids", tmp_path / "alone", tmp_path / "o"), "only these parts were seen: mag")
    assert_refused(jaxqsm_here(*arguments, "--participant-label", "1/../../x"), "letters and digits")


def _run(tmp_path, *arguments, given):
    return jaxqsm_here("run", *given, "--out", tmp_path / "out", "--overwrite", *FAST, *arguments)


def _given(folder):
    files = write_whole(folder, SCAN)
    times = ("--echo-times", *SCAN.echo_times, "--field-strength", 3)
    return ("--phase", *files["phase"], "--magnitude", *files["magnitude"], "--mask", files["mask"], *times)


def test_complex_images_and_their_parts_run(tmp_path):
    given = _given(tmp_path)
    assert _run(tmp_path, given=given).returncode == 0
    plain = nib.load(tmp_path / "out" / "chimap.nii.gz").get_fdata()
    both = save_nifti(tmp_path / "c.nii", SCAN.signal.astype(np.complex64), SCAN.affine)
    real = save_nifti(tmp_path / "r.nii", SCAN.signal.real.astype(np.float32), SCAN.affine)
    imaginary = save_nifti(tmp_path / "i.nii", SCAN.signal.imag.astype(np.float32), SCAN.affine)
    for files in (("--complex", both), ("--real", real, "--imaginary", imaginary)):
        done = _run(tmp_path, given=(*files, *given[4:]))
        assert done.returncode == 0, done.stderr
        chi = nib.load(tmp_path / "out" / "chimap.nii.gz").get_fdata()
        assert np.linalg.norm(chi - plain) < 1e-3 * np.linalg.norm(plain)
    assert_refused(_run(tmp_path, given=("--phase", both, *given[2:])), "c.nii", "complex", "--complex")
    assert_refused(_run(tmp_path, "--mask-method", "guess", given=given), "guess", "phase_quality")
    assert_refused(_run(tmp_path, "--erosion", 400, given=given), "half width")


def test_every_command_that_advises_replacing_does_it(tmp_path):
    """NaN outside the mask needs no option; inside it is refused, and the advice works."""
    given = _given(tmp_path)
    field = np.where(SCAN.mask, SCAN.phase[..., 0], np.nan)
    mask = given[5]
    commands = {
        "invert": ("--method", "tkd"),
        "background": ("--method", "v_sharp"),
    }
    for inside in (False, True):
        if inside:
            field[14, 13, 12] = np.inf
        path = save_nifti(tmp_path / f"f{inside}.nii", field, SCAN.affine)
        for command, options in commands.items():
            out = tmp_path / f"{command}{inside}.nii"
            done = jaxqsm_here(command, path, "--mask", mask, "--out", out, *options)
            if inside:
                assert_refused(done, "1 voxels", "inside the mask", "--replace-nonfinite")
                done = jaxqsm_here(
                    command, path, "--mask", mask, "--out", out, *options, "--replace-nonfinite"
                )
            assert done.returncode == 0, done.stderr
            assert np.isfinite(nib.load(out).get_fdata()).all()
    hollow = np.where(SCAN.mask[..., None], SCAN.magnitude, np.nan)
    magnitude = save_nifti(tmp_path / "m.nii", hollow, SCAN.affine)
    done = jaxqsm_here("r2star", magnitude, "--echo-times", *SCAN.echo_times, "--out", tmp_path / "r.nii")
    assert done.returncode == 0, done.stderr
    assert np.isfinite(nib.load(tmp_path / "r.nii").get_fdata()).all()


@pytest.mark.slow
def test_terminals_and_paths_that_are_not_utf8(tmp_path):
    latin = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [sys.executable, "-m", "jaxqsm", "methods"], capture_output=True, env=latin, check=False
    )
    assert done.returncode == 0
    _given(tmp_path)
    folder = os.fsencode(tmp_path) + b"/Gr\xf6\xdfe"
    os.mkdir(folder)
    for name in (b"ph", b"mag", b"mask"):
        shutil.copy(os.fsencode(tmp_path) + b"/scan_" + name + b".nii", folder + b"/" + name + b".nii")
    command = [os.fsencode(sys.executable), b"-m", b"jaxqsm", b"run", b"--out", folder + b"/out"]
    command += [b"--phase", folder + b"/ph.nii", b"--magnitude", folder + b"/mag.nii"]
    command += [b"--mask", folder + b"/mask.nii", b"--echo-times", b"0.004", b"0.008", b"0.012"]
    command += [b"--field-strength", b"3", *(text.encode() for text in FAST)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {b"report.html", b"provenance.json", b"chimap.nii.gz"} <= set(os.listdir(folder + b"/out"))


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run as another user")
def test_a_container_that_runs_as_another_user():
    """No home, and a package folder that cannot be written: compiled code is simply not kept."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        _run_as_nobody(Path(folder))


def _run_as_nobody(tmp_path):
    given = _given(tmp_path)
    package = os.path.dirname(os.path.dirname(os.path.abspath(sys.modules["jaxqsm"].__file__)))
    environment = {"HOME": "/nonexistent", "PATH": os.environ["PATH"], "PYTHONPATH": package}
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-m", "jaxqsm"]
    reach = subprocess.run(
        [*user[:-2], "-c", "import numpy"], env=environment, capture_output=True, check=False
    )
    if reach.returncode != 0:
        pytest.skip("the other user cannot reach this Python")
    command = [*user, "run", *map(str, given), "--out", str(tmp_path / "out"), *FAST]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd="/tmp")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "chimap.nii.gz").exists()
