"""Single stages chained by files give what run gives; evaluate and demo."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers import INVIVO, jaxqsm, jaxqsm_here, of_reference_data
from qsm_ci import qsm_eval

PHASE, MAGNITUDE = INVIVO / "phase.nii.gz", INVIVO / "mag.nii.gz"
TIMES = ("--echo-times", 0.004, 0.008, 0.012)


def _ok(*arguments, command=jaxqsm_here):
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    return done


@of_reference_data
def test_stages_chain_to_the_same_map(tmp_path):
    common = ("--phase", PHASE, "--magnitude", MAGNITUDE, *TIMES, "--field-strength", 7)
    _ok("mask", MAGNITUDE, "--out", tmp_path / "mask.nii.gz")
    _ok(
        "field",
        *common,
        "--mask",
        tmp_path / "mask.nii.gz",
        "--out",
        tmp_path / "totalfield.nii.gz",
        "--out-hertz",
        tmp_path / "b0.nii.gz",
        "--out-quality",
        tmp_path / "quality.nii.gz",
    )
    volumes = [
        nib.load(tmp_path / f"{n}.nii.gz").get_fdata() for n in ("totalfield", "b0", "quality", "mask")
    ]
    total, hertz, quality, within = volumes
    np.testing.assert_allclose(hertz, 42.577478 * 7 * total, atol=1e-3)
    assert 0.9 < np.median(quality[within > 0]) <= quality.max() < 1.001
    assert (quality[within == 0] == 0).all()
    _ok(
        "background", tmp_path / "totalfield.nii.gz", "--mask", tmp_path / "mask.nii.gz",
        "--method", "v_sharp", "--out", tmp_path / "localfield.nii.gz",
        "--out-mask", tmp_path / "valid.nii.gz",
    )  # fmt: skip
    _ok(
        "invert", tmp_path / "localfield.nii.gz", "--mask", tmp_path / "valid.nii.gz", "--method", "tkd",
        "--set", "threshold=0.15", "--out", tmp_path / "chimap.nii.gz",
    )  # fmt: skip
    _ok(
        "run",
        *common,
        "--background",
        "v_sharp",
        "--inversion",
        "tkd",
        "--set",
        "tkd.threshold=0.15",
        "--out",
        tmp_path / "run",
    )
    chained = nib.load(tmp_path / "chimap.nii.gz").get_fdata()
    whole = nib.load(tmp_path / "run" / "chimap.nii.gz").get_fdata()
    inside = whole != 0
    # The two differ only by how much zero-padding surrounds the volume.
    assert np.corrcoef(chained[inside], whole[inside])[0, 1] > 0.98
    table = _ok(
        "evaluate", tmp_path / "chimap.nii.gz", tmp_path / "run" / "chimap.nii.gz", "--mask",
        tmp_path / "valid.nii.gz", "--json",
    )  # fmt: skip
    ours = json.loads(table.stdout)
    mask = nib.load(tmp_path / "valid.nii.gz").get_fdata()
    theirs, _ = qsm_eval.score_arrays(chained, whole, mask)
    assert ours["nrmse"] == pytest.approx(theirs["nrmse"], rel=1e-6)
    assert ours["xsim"] == pytest.approx(theirs["xsim"], rel=1e-6)


@of_reference_data
def test_unwrap_adds_whole_turns(tmp_path):
    _ok("unwrap", PHASE, "--magnitude", MAGNITUDE, *TIMES, "--out", tmp_path / "u.nii.gz")
    unwrapped = nib.load(tmp_path / "u.nii.gz").get_fdata()
    wrapped = nib.load(PHASE).get_fdata() * np.pi / 0.0036743774290988462
    turns = (unwrapped - wrapped) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-4)


def test_methods_lists_every_method():
    listed = _ok("methods", command=jaxqsm).stdout
    for name in (
        "romeo",
        "laplacian",
        "v_sharp",
        "pdf",
        "tkd",
        "tikhonov",
        "tv",
        "ndi",
        "cosmos",
        "sti",
        "clear_swi",
        "doi:",
    ):
        assert name in listed


def test_demo_writes_maps_metrics_and_report(tmp_path):
    """Coarse and quick here; the targets are tested at 1 mm in the slow run."""
    _ok("demo", "--out", tmp_path / "demo", "--voxel-size", "4")
    written = {p.name for p in (tmp_path / "demo").iterdir()}
    assert {"chimap.nii.gz", "metrics.json", "report.html", "sub-demo", "derivatives"} <= written
    scores = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    assert scores["end_to_end"]["correlation"] > 0.88
    assert scores["end_to_end"]["detrended_nrmse"] < 54
    assert scores["inversion_alone"]["tv"]["nrmse"] < 25
    sources = json.loads((tmp_path / "demo" / "provenance.json").read_text())["sources"]
    assert all(Path(source).is_file() for source in sources)


@pytest.mark.slow
def test_demo_reaches_its_targets_at_full_resolution(tmp_path):
    _ok("demo", "--out", tmp_path / "demo")
    scores = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    assert scores["end_to_end"]["correlation"] > 0.85
    assert scores["end_to_end"]["detrended_nrmse"] < 65
    assert scores["inversion_alone"]["tv"]["nrmse"] < 30
    assert scores["inversion_alone"]["tkd"]["nrmse"] < 45


@pytest.mark.slow
def test_simulate_any_geometry(tmp_path):
    _ok(
        "simulate", "--out", tmp_path / "d", "--voxel-size", 3, 4, 5, "--b0-dir", 0.3, -0.2, 0.9,
        "--echo-times", 0.005, "--field-strength", 7, "--snr", "inf", "--seed", 3,
    )  # fmt: skip
    phase = tmp_path / "d" / "sub-1" / "anat" / "sub-1_echo-1_part-phase_MEGRE.nii.gz"
    image = nib.load(phase)
    np.testing.assert_allclose(image.header.get_zooms(), (3, 4, 5), rtol=1e-5)
    direction = np.array([0.3, -0.2, 0.9]) / np.linalg.norm([0.3, -0.2, 0.9])
    np.testing.assert_allclose((image.affine[:3, :3] / [3, 4, 5]).T[:, 2], direction, atol=1e-5)
    sidecar = json.loads(phase.with_name(phase.name[:-7] + ".json").read_text())
    assert sidecar["EchoTime"] == 0.005
    assert sidecar["MagneticFieldStrength"] == 7
    assert sidecar["Units"] == "rad"
    truth = tmp_path / "d" / "derivatives" / "truth" / "sub-1" / "anat"
    names = {p.name for p in truth.iterdir()}
    for suffix in (
        "Chimap",
        "desc-total_fieldmap",
        "desc-local_fieldmap",
        "desc-brain_mask",
        "dseg",
    ):
        assert f"sub-1_{suffix}.nii.gz" in names


@pytest.mark.slow
def test_a_bipolar_readout_is_suspected_and_mended_when_named(tmp_path):
    times = ("--echo-times", 0.004, 0.012, 0.020)
    _ok("simulate", "--out", tmp_path / "d", "--voxel-size", 4, 4, 4, *times, "--bipolar")
    anat = tmp_path / "d" / "sub-1" / "anat"
    phase, magnitude = (sorted(anat.glob(f"*part-{part}*.nii.gz")) for part in ("phase", "mag"))
    truth = tmp_path / "d" / "derivatives" / "truth" / "sub-1" / "anat"
    field = nib.load(truth / "sub-1_desc-total_fieldmap.nii.gz").get_fdata()
    errors = []
    for named in ((), ("--bipolar",)):
        out = tmp_path / f"out{len(named)}"
        done = _ok(
            "run", "--phase", *phase, "--magnitude", *magnitude, "--out", out, "--background", "v_sharp",
            "--inversion", "tkd", *named,
        )  # fmt: skip
        assert ("use --bipolar" in done.stderr) == (not named)
        assert json.loads((out / "provenance.json").read_text())["bipolar"] == bool(named)
        total = tmp_path / f"field{len(named)}.nii.gz"
        done = _ok("field", "--phase", *phase, "--magnitude", *magnitude, "--out", total, *named)
        assert ("use --bipolar" in done.stderr) == (not named)
        found = nib.load(out / "totalfield.nii.gz").get_fdata()
        difference = (found - field)[found != 0]
        errors.append(np.median(np.abs(difference - np.median(difference))))
    assert errors[0] > 5 * errors[1]


@pytest.mark.slow
def test_simulate_random_persons(tmp_path):
    _ok(
        "simulate", "--phantom", "random", "--count", 2, "--out", tmp_path / "d", "--voxel-size", 3, 3, 6,
        "--oversampling", 2, "--echo-times", 0.004, 0.010, "--bipolar", "--partial-fourier", 0.75,
        "--shim-order", 2, "--age", 30,
    )  # fmt: skip
    truth = tmp_path / "d" / "derivatives" / "truth"
    maps = [nib.load(truth / f"sub-{i}" / "anat" / f"sub-{i}_Chimap.nii.gz") for i in (1, 2)]
    assert maps[0].header.get_zooms() == pytest.approx((3, 3, 6))
    first, second = (np.asarray(m.dataobj) for m in maps)
    assert first.shape != second.shape or not np.allclose(first, second)
    sidecar = json.loads((tmp_path / "d/sub-2/anat/sub-2_echo-2_part-phase_MEGRE.json").read_text())
    assert sidecar["BipolarReadout"] is True
    assert sidecar["PartialFourier"] == 0.75
    assert sidecar["PhantomVoxelSize"] == [1.5, 1.5, 3.0]
    assert sidecar["Seed"] == 1


@pytest.mark.slow
def test_evaluation_set_is_the_same_every_time(tmp_path):
    for folder in ("a", "b"):
        _ok("evaluation-set", "--scans", "noisy", "--out", tmp_path / folder)
    name = "sub-noisy/anat/sub-noisy_echo-4_part-phase_MEGRE.nii.gz"
    one, two = (np.asarray(nib.load(tmp_path / folder / name).dataobj) for folder in "ab")
    # But for rounding, which depends on how sums are shared among threads.
    np.testing.assert_allclose(np.exp(1j * one), np.exp(1j * two), atol=1e-3)
