"""The command line on real and on independently simulated data, in processes of its own."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from helpers import INVIVO, SHARED, jaxqsm, of_reference_data
from qsm_forward import ReconParams, TissueParams, generate_bids, generate_susceptibility_phantom
from scans import save_nifti, small_scan
from scipy import ndimage, stats

TWO_ECHOES = SHARED / "data" / "invivo_two_echoes"


@of_reference_data
def test_in_vivo_crop(tmp_path):
    """7 T, phase stored as ±0.00367: rescaled and said so; veins come out positive."""
    out = tmp_path / "out"
    done = jaxqsm(
        "run", "--phase", INVIVO / "phase.nii.gz", "--magnitude", INVIVO / "mag.nii.gz",
        "--echo-times", "0.004", "0.008", "0.012", "--field-strength", "7", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "phase is in radians (stored range -0.00367438 … 0.00367438)" in done.stderr
    names = {"chimap.nii.gz", "localfield.nii.gz", "totalfield.nii.gz", "mask.nii.gz"}
    assert {p.name for p in out.iterdir()} == names | {"provenance.json", "report.html"}
    chi = np.asarray(nib.load(out / "chimap.nii.gz").dataobj)
    mask = np.asarray(nib.load(out / "mask.nii.gz").dataobj) > 0
    magnitude = np.asarray(nib.load(INVIVO / "mag.nii.gz").dataobj)
    assert np.isfinite(chi).all()
    assert 0.01 < chi[mask].std() < 0.15
    # Veins at 7 T lose their signal by the last echo: the darkest voxels against their surroundings.
    last = magnitude[..., 2]
    relative = last / ndimage.gaussian_filter(last, 3)
    dark = mask & (relative < np.percentile(relative[mask], 1))
    assert chi[dark].mean() - np.median(chi[mask]) > 0.01
    history = json.loads((out / "provenance.json").read_text())
    assert history["field_strength_t"] == 7
    assert history["methods"]["single_step"]["method"] == "ss_tv"
    assert "inversion" not in history["methods"]
    assert any("phase is in radians" in note for note in history["notes"])
    affine = nib.load(INVIVO / "phase.nii.gz").affine
    np.testing.assert_allclose(nib.load(out / "chimap.nii.gz").affine, affine, atol=1e-4)


@pytest.mark.slow
@of_reference_data
def test_real_heads_through_bids(tmp_path):
    """A head of two echoes with its neck, and a crop at 7 T, as a dataset: iron positive, borders quiet."""
    head, crop = (tmp_path / "raw" / f"sub-{name}" / "anat" for name in ("head", "crop"))
    for folder in (head, crop):
        folder.mkdir(parents=True)
    stem = "2001_WIP_fcMRI_Field_Mapping_enh_e"
    for echo in (1, 2):
        for part, suffix in (("phase", "_ph"), ("mag", "")):
            source = TWO_ECHOES / f"{stem}{echo}{suffix}"
            target = head / f"sub-head_echo-{echo}_part-{part}_MEGRE"
            shutil.copy(f"{source}.nii.gz", f"{target}.nii.gz")
            beside = TWO_ECHOES / f"{stem}{echo}_ph.json"
            metadata = json.loads(beside.read_text())
            kept = {key: metadata[key] for key in ("EchoTime", "MagneticFieldStrength")}
            target.with_suffix(".json").write_text(json.dumps(kept))
    for part, name in (("phase", "phase"), ("mag", "mag")):
        shutil.copy(INVIVO / f"{name}.nii.gz", crop / f"sub-crop_part-{part}_MEGRE.nii.gz")
    crop.joinpath("sub-crop_MEGRE.json").write_text(
        json.dumps({"EchoTime": [0.004, 0.008, 0.012], "MagneticFieldStrength": 7})
    )
    done = jaxqsm("bids", tmp_path / "raw", tmp_path / "out", "participant")
    assert done.returncode == 0, done.stderr
    for name, spread in (("head", 0.1), ("crop", 0.05)):
        folder = tmp_path / "out" / f"sub-{name}" / "anat"
        chi = nib.load(folder / f"sub-{name}_Chimap.nii.gz").get_fdata()
        valid = nib.load(folder / f"sub-{name}_desc-valid_mask.nii.gz").get_fdata() > 0
        assert 0.01 < chi[valid].std() < spread
        core = ndimage.binary_erosion(valid, iterations=2)
        assert stats.skew(chi[core]) > 0.5  # iron and veins, in both heads
        history = json.loads((folder / f"sub-{name}_Chimap.json").read_text())
        assert not any("border of the mask" in text for text in history["warnings"])


CYLINDERS = (0.05, 0.1, 0.2, 0.5)


def _simulate_cylinders(folder, b0_dir):
    """The independent simulator's own phantom at its own size, with noise."""
    chi = generate_susceptibility_phantom(
        resolution=[100, 100, 100],
        background=0,
        large_cylinder_val=0.005,
        small_cylinder_radii=[4, 4, 4, 7],
        small_cylinder_vals=list(CYLINDERS),
    )
    generate_bids(
        TissueParams(chi=chi),
        ReconParams(
            B0=3, B0_dir=np.array(b0_dir) / np.linalg.norm(b0_dir), peak_snr=100, random_seed=0,
            generate_shim_field=False,
        ),
        str(folder),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("b0_dir", [pytest.param((0.0, 0.0, 1.0), marks=pytest.mark.slow), (0.4, -0.3, 0.85)])
def test_bids_recovers_the_cylinders_of_qsm_forward(tmp_path, b0_dir):
    data, out = tmp_path / "bids", tmp_path / "out"
    _simulate_cylinders(data, b0_dir)
    masks = data / "derivatives" / "qsm-forward"
    done = jaxqsm("bids", data, out, "participant", "--masks", masks)
    assert done.returncode == 0, done.stderr
    written = out / "sub-1" / "anat" / "sub-1_Chimap.nii.gz"
    truth_image = nib.load(masks / "sub-1" / "anat" / "sub-1_Chimap.nii")
    truth = truth_image.get_fdata()
    chi = nib.load(written).get_fdata()
    valid = nib.load(written.with_name("sub-1_desc-valid_mask.nii.gz")).get_fdata() > 0
    np.testing.assert_allclose(nib.load(written).affine, truth_image.affine, atol=1e-4)
    sidecar = json.loads(written.with_name("sub-1_Chimap.json").read_text())
    np.testing.assert_allclose(
        sidecar["b0_dir_voxel_axes"], np.array(b0_dir) / np.linalg.norm(b0_dir), atol=1e-3
    )
    true_means = [0.005, *CYLINDERS]
    means = [chi[valid & np.isclose(truth, value)].mean() for value in true_means]
    slope = np.polyfit(true_means, means, 1)[0]
    assert 0.85 < slope < 1.05, means
    assert np.corrcoef(true_means, means)[0, 1] > 0.995
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    again = jaxqsm("bids", data, out, "participant", "--masks", masks)
    assert again.returncode == 0
    assert "passed over" in again.stderr


@pytest.mark.slow
def test_a_weight_that_was_chosen_is_in_the_history(tmp_path):
    done = jaxqsm("simulate", "--out", tmp_path / "bids", "--voxel-size", 4, 4, 4)
    assert done.returncode == 0, done.stderr
    done = jaxqsm(
        "bids", tmp_path / "bids", tmp_path / "out", "participant", "--background", "pdf", "--inversion",
        "tv", "--set", "tv.weight=auto",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").rglob("*Chimap.json")
    history = json.loads(path.read_text())
    options = history["methods"]["inversion"]["options"]
    assert 1e-5 < options["weight"] < 1e-2
    assert options["weight_chosen_by"] == "cross-validation"
    assert any("weight of tv" in note for note in history["notes"])


def test_one_bad_subject_does_not_stop_the_others(tmp_path):
    """Two subjects, the first truncated: the second is reconstructed, the first is named, exit 1."""
    data, out, scan = tmp_path / "bids", tmp_path / "out", small_scan()
    sidecar = {"EchoTime": scan.echo_times, "MagneticFieldStrength": 3}
    for subject in ("1", "2"):
        anat = data / f"sub-{subject}" / "anat"
        for part, volumes in (("phase", scan.phase), ("mag", scan.magnitude)):
            save_nifti(anat / f"sub-{subject}_part-{part}_MEGRE.nii.gz", volumes, scan.affine, **sidecar)
    broken = data / "sub-1" / "anat" / "sub-1_part-phase_MEGRE.nii.gz"
    broken.write_bytes(broken.read_bytes()[:5000])
    done = jaxqsm("bids", data, out, "participant", "--background", "v_sharp", "--inversion", "tkd")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "sub-1_part-phase_MEGRE.nii.gz" in done.stderr
    assert "1 failed: sub-1" in done.stderr
    assert not (out / "sub-1").exists()
    assert (out / "sub-2" / "anat" / "sub-2_Chimap.nii.gz").exists()
    assert not list(out.rglob(".jaxqsm-partial*"))
