"""Commands beside the path from phase to χ: orientations, decay, tables of regions."""

import csv
import io

import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
from helpers import INVIVO, ball, jaxqsm_here, of_reference_data, relative_error, smooth_blobs

from jaxqsm import Geometry
from jaxqsm.physics import dipole_field

SHAPE = (24, 22, 20)
AFFINE = np.diag([1.0, 1.2, 1.4, 1.0])


def _ok(*arguments):
    done = jaxqsm_here(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def _save(path, data):
    nib.save(nib.Nifti1Image(np.asarray(data, np.float32), AFFINE), path)
    return path


@pytest.mark.slow
def test_cosmos_from_three_files(tmp_path):
    mask = ball(SHAPE, 8)
    chi = np.where(mask, 0.1 * smooth_blobs(SHAPE), 0)
    chi = np.where(mask, chi - chi[mask].mean(), 0)
    directions = [(0, 0, 1), (0.8, 0, 0.6), (0, -0.8, 0.6)]
    fields = [dipole_field(jnp.asarray(chi, jnp.float32), Geometry((1.0, 1.2, 1.4), d)) for d in directions]
    files = [_save(tmp_path / f"{n}.nii.gz", field) for n, field in enumerate(fields)]
    inside = _save(tmp_path / "mask.nii.gz", mask)
    numbers = [v for d in directions for v in d]
    out = tmp_path / "chi.nii.gz"
    _ok("cosmos", *files, "--b0-dirs", *numbers, "--mask", inside, "--out", out)
    assert relative_error(nib.load(out).get_fdata(), chi, mask) < 0.05

    short = jaxqsm_here(
        "cosmos", *files, "--b0-dirs", *numbers[:6], "--mask", inside, "--out", tmp_path / "no.nii.gz"
    )
    assert short.returncode == 2
    assert "--b0-dirs has 6 numbers; 3 fields need 9" in short.stderr
    few = jaxqsm_here("sti", *files, "--b0-dirs", *numbers, "--mask", inside, "--out", tmp_path / "no.nii.gz")
    assert few.returncode == 2
    assert "6 orientations" in few.stderr
    assert not (tmp_path / "no.nii.gz").exists()


def test_r2star_of_files_in_any_order(tmp_path):
    rate = np.random.default_rng(0).uniform(10, 60, SHAPE)
    times = (0.020, 0.004, 0.012)
    files = []
    for number, time in enumerate(times):
        files.append(_save(tmp_path / f"mag_{number}.nii.gz", 900 * np.exp(-rate * time)))
        (tmp_path / f"mag_{number}.json").write_text(f'{{"EchoTime": {time}}}')
    out, t2star = tmp_path / "r2star.nii.gz", tmp_path / "t2star.nii.gz"
    _ok("r2star", *files, "--out", out, "--t2star", t2star)
    np.testing.assert_allclose(nib.load(out).get_fdata(), rate, rtol=5e-3)
    np.testing.assert_allclose(nib.load(t2star).get_fdata(), 1 / rate, rtol=5e-3)
    uneven = jaxqsm_here(
        "r2star", *files, "--echo-times", 0.001, 0.002, 0.02, "--out", tmp_path / "no.nii.gz"
    )
    assert uneven.returncode == 2
    assert "evenly" in uneven.stderr
    assert "Traceback" not in uneven.stderr


def test_roi_counts_what_is_there(tmp_path):
    labels = np.zeros(SHAPE, int)
    labels[2:6, 2:6, 2:6], labels[10:12, 3:5, 4:8] = 3, 7
    chi = np.random.default_rng(0).normal(0.05, 0.02, SHAPE)
    files = _save(tmp_path / "chi.nii.gz", chi), "--labels", _save(tmp_path / "dseg.nii.gz", labels)
    (tmp_path / "dseg.tsv").write_text("index\tname\n3\tputamen\n7\tcsf\n")
    table = list(csv.DictReader(io.StringIO(_ok("roi", *files).stdout)))
    assert [(row["label"], row["name"], row["n"]) for row in table] == [
        ("3", "putamen", "64"),
        ("7", "csf", "16"),
    ]
    part = chi.astype(np.float32)[labels == 3]
    for name, value in (("mean", part.mean()), ("sd", part.std(ddof=1)), ("median", np.median(part))):
        assert float(table[0][name]) == pytest.approx(value, rel=1e-4)

    out = tmp_path / "table.csv"
    _ok("roi", *files, "--reference", 7, "--out", out)
    shifted = list(csv.DictReader(out.open()))
    assert float(shifted[1]["mean"]) == pytest.approx(0, abs=1e-6)
    missing = jaxqsm_here("roi", *files, "--reference", 9)
    assert missing.returncode == 2
    assert "--reference 9" in missing.stderr


@pytest.mark.slow
@of_reference_data
def test_nonlinear_fit_in_vivo_agrees_with_the_linear_one(tmp_path):
    fields = []
    for method in ("weighted_fit", "nonlinear_fit"):
        out = tmp_path / f"{method}.nii.gz"
        _ok(
            "field", "--phase", INVIVO / "phase.nii.gz", "--magnitude", INVIVO / "mag.nii.gz",
            "--echo-times", 0.004, 0.008, 0.012, "--field-strength", 7, "--field-mapping", method,
            "--out", out,
        )  # fmt: skip
        fields.append(nib.load(out).get_fdata())
    inside = fields[0] != 0
    gap = np.median(np.abs(fields[1] - fields[0])[inside])
    assert 0 < gap < 0.1 * np.std(fields[0][inside])


def test_swi_from_phase_and_from_chi(tmp_path):
    chi = np.zeros(SHAPE)
    chi[11:13, 10:12] = 0.4
    magnitude = _save(tmp_path / "mag.nii.gz", np.full(SHAPE, 50.0))
    out, slab = tmp_path / "swi.nii.gz", tmp_path / "mip.nii.gz"
    source = _save(tmp_path / "chi.nii.gz", chi)
    _ok("swi", "--magnitude", magnitude, "--chi", source, "--out", out, "--projection", slab)
    assert nib.load(out).get_fdata()[11, 10, 10] < 1
    assert (nib.load(slab).get_fdata() <= nib.load(out).get_fdata()).all()
    phase = _save(tmp_path / "phase.nii.gz", np.pi * np.sin(np.indices(SHAPE)[0]))
    _ok("swi", "--magnitude", magnitude, "--phase", phase, "--out", tmp_path / "p.nii.gz")
    echoes = _save(tmp_path / "echoes.nii.gz", np.full((*SHAPE, 2), 50.0))
    phases = _save(tmp_path / "phases.nii.gz", np.pi * np.sin(np.indices((*SHAPE, 2))[0]))
    several = "swi", "--magnitude", echoes, "--phase", phases, "--echo-times", 0.01, 0.02
    _ok(*several, "--out", tmp_path / "clear.nii.gz")
    assert nib.load(tmp_path / "clear.nii.gz").shape == SHAPE
    mixed = jaxqsm_here(*several, "--chi", source, "--out", tmp_path / "no.nii.gz")
    assert mixed.returncode == 2
    neither = jaxqsm_here("swi", "--magnitude", magnitude, "--out", tmp_path / "no.nii.gz")
    assert neither.returncode == 2
    assert "--phase and --chi" in neither.stderr


def test_separate_iron_and_myelin(tmp_path):
    mask = ball(SHAPE, 8)
    positive = np.where(mask & (np.indices(SHAPE)[0] > 12), 0.1, 0.02) * mask
    negative = np.where(mask & (np.indices(SHAPE)[1] > 12), 0.06, 0.02) * mask
    field = dipole_field(jnp.asarray(positive - negative, jnp.float32), Geometry((1.0, 1.2, 1.4)))
    files = [
        _save(tmp_path / f"{name}.nii.gz", data)
        for name, data in {
            "field": field,
            "mask": mask,
            "r2star": 15 + 137 * 7 / 3 * (positive + negative),
            "r2": np.full(SHAPE, 15.0),
        }.items()
    ]
    out = tmp_path / "p.nii.gz", tmp_path / "n.nii.gz"
    common = files[0], "--mask", files[1], "--out-positive", out[0], "--out-negative", out[1]
    _ok("separate", *common, "--field-strength", 7, "--r2star", files[2], "--r2", files[3])
    found = [nib.load(path).get_fdata() for path in out]
    assert relative_error(found[0], positive, mask) < 0.2
    assert relative_error(found[1], -negative, mask) < 0.2
    uniform = "--overwrite", "--field-strength", 7, "--uniform-r2", 15
    _ok("separate", *common, *uniform, "--r2star", files[2])
    np.testing.assert_allclose(nib.load(out[0]).get_fdata(), found[0], atol=1e-6)
    _ok("separate", *common, *uniform, "--r2star", files[2], "--set", "weight=0.01")
    smoother = nib.load(out[0]).get_fdata()
    assert np.std(smoother[mask]) < 0.9 * np.std(found[0][mask])
    both = jaxqsm_here("separate", *common, *uniform, "--r2star", files[2], "--r2prime", files[2])
    assert both.returncode == 2
    assert "--r2prime" in both.stderr


@pytest.mark.parametrize(("command", "method"), [("invert", "tkd"), ("background", "v_sharp")])
def test_what_lies_far_from_the_mask_takes_no_part(tmp_path, command, method):
    """The same object at the end of a larger field of view has the same map, at its own place."""
    mask = ball(SHAPE, 8)
    chi = np.where(mask, 0.1 * smooth_blobs(SHAPE), 0)
    field = dipole_field(jnp.asarray(chi, jnp.float32), Geometry((1.0, 1.2, 1.4), (0.0, 0.6, 0.8)))
    margins, maps = [(21, 3), (0, 17), (5, 30)], []
    for wide in (False, True):
        widths = margins if wide else [(0, 0)] * 3
        files = [
            _save(tmp_path / f"{name}{wide}.nii.gz", np.pad(np.asarray(v), widths))
            for name, v in (("field", field), ("mask", mask), ("magnitude", 1 + chi))
        ]
        out, valid = tmp_path / f"out{wide}.nii.gz", tmp_path / f"valid{wide}.nii.gz"
        _ok(command, files[0], "--mask", files[1], "--magnitude", files[2], "--b0-dir", 0, 0.6, 0.8,
            "--method", method, "--out", out, "--out-mask", valid)  # fmt: skip
        maps.append([nib.load(file).get_fdata() for file in (out, valid)])
    for narrow, wide in zip(*maps, strict=True):
        assert np.any(narrow)
        np.testing.assert_array_equal(np.pad(narrow, margins), wide)


def test_invert_relative_to_cerebrospinal_fluid(tmp_path):
    mask = ball(SHAPE, 8)
    fluid = ball(SHAPE, 3)
    chi = np.where(fluid, -0.02, 0.1 * smooth_blobs(SHAPE)) * mask
    field = dipole_field(jnp.asarray(chi, jnp.float32), Geometry((1.0, 1.2, 1.4)))
    names = {"field": field, "mask": mask, "csf": fluid}
    files = [_save(tmp_path / f"{name}.nii.gz", data) for name, data in names.items()]
    out = tmp_path / "chi.nii.gz"
    common = files[0], "--mask", files[1], "--csf-mask", files[2]
    _ok("invert", *common, "--method", "medi", "--set", "merit=1", "--out", out)
    found = nib.load(out).get_fdata()
    assert abs(found[fluid].mean()) < 1e-4
    assert relative_error(found[mask], (chi + 0.02)[mask]) < 0.3
    other = jaxqsm_here("invert", *common, "--method", "tv", "--out", tmp_path / "no.nii.gz")
    assert other.returncode == 2
    assert "tv does not use it" in other.stderr
