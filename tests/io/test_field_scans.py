"""Folders of fields: which files belong together, and what is missing."""

import json

import numpy as np
import pytest
from helpers import ball
from scans import save_nifti

from jaxqsm.io import InputError, find_field_scans, load_field_scan

SHAPE = (10, 9, 8)


@pytest.fixture
def saved(tmp_path):
    def save(name, data=None, affine=None):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = np.ones(SHAPE, np.float32) if data is None else data
        return save_nifti(path, data, np.eye(4) if affine is None else affine)

    return save


def test_files_of_a_scan_are_found_by_every_name_that_jaxqsm_writes(saved, tmp_path):
    for name in ("localfield", "chimap", "mask", "report_of_something"):
        saved(f"run/{name}.nii.gz")
    for name in (
        "desc-local_fieldmap",
        "desc-total_fieldmap",
        "Chimap",
        "desc-std_Chimap",
        "desc-valid_mask",
    ):
        saved(f"bids/sub-01/ses-2/anat/sub-01_ses-2_{name}.nii.gz")
    saved("bids/sub-01/ses-2/anat/sub-01_ses-2_mask.nii.gz")
    for person in ("ann", "bo"):
        for name in ("localfield", "mask", "magnitude"):
            saved(f"flat_{person}_{name}.nii")
    scans = {scan.subject: scan for scan in find_field_scans(tmp_path, "local_field")}
    assert set(scans) == {"run", "sub-01", "flat_ann", "flat_bo"}
    assert set(scans["run"].files) == {"local_field", "chi", "mask"}
    assert set(scans["sub-01"].files) == {"local_field", "total_field", "chi", "mask"}
    assert scans["sub-01"].files["mask"].name == "sub-01_ses-2_desc-valid_mask.nii.gz"
    assert scans["sub-01"].files["chi"].name == "sub-01_ses-2_Chimap.nii.gz"
    assert set(scans["flat_bo"].files) == {"local_field", "mask", "magnitude"}
    assert [scan.subject for scan in find_field_scans(tmp_path, "total_field")] == ["sub-01"]


def test_volumes_come_with_the_geometry_of_header_and_sidecar(saved):
    mask = ball(SHAPE, 3)
    folder = saved("localfield.nii.gz", np.full(SHAPE, 0.5, np.float32), np.diag([1.0, 1.5, 2.0, 1.0])).parent
    saved("mask.nii.gz", mask.astype(np.uint8), np.diag([1.0, 1.5, 2.0, 1.0]))
    chi = np.where(mask, 0.1, np.nan).astype(np.float32)
    saved("chimap.nii.gz", chi, np.diag([1.0, 1.5, 2.0, 1.0]))
    (folder / "localfield.json").write_text(json.dumps({"B0_dir": [0.0, 0.6, 0.8]}))
    (scan,) = find_field_scans(folder, "local_field")
    volumes, inside, geometry = load_field_scan(scan)
    np.testing.assert_allclose(geometry.voxel_size, [1.0, 1.5, 2.0])
    np.testing.assert_allclose(geometry.unit_b0_dir, [0.0, 0.6, 0.8], atol=1e-6)
    np.testing.assert_array_equal(inside, mask)
    np.testing.assert_allclose(volumes["local_field"], 0.5 * mask)
    np.testing.assert_allclose(volumes["chi"], 0.1 * mask)


def test_what_is_missing_or_at_odds_is_named(saved, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_field_scans(tmp_path / "nothing", "local_field")
    saved("sub-1_Chimap.nii.gz")
    with pytest.raises(InputError, match=r"holds no local field: no file whose name ends in localfield\.nii"):
        find_field_scans(tmp_path, "local_field")
    saved("sub-1_localfield.nii.gz")
    with pytest.raises(
        InputError, match=r"sub-1_localfield\.nii\.gz: has no mask; add .*sub-1_mask\.nii\.gz"
    ):
        find_field_scans(tmp_path, "local_field")
    saved("sub-1_mask.nii.gz")
    (scan,) = find_field_scans(tmp_path, "local_field")
    saved("sub-1_localfield.nii")
    with pytest.raises(InputError, match="hold the same; remove one"):
        find_field_scans(tmp_path, "local_field")
    saved("sub-1_Chimap.nii.gz", np.full(SHAPE, np.nan, np.float32))
    with pytest.raises(InputError, match=r"sub-1_Chimap\.nii\.gz: 720 voxels are NaN"):
        load_field_scan(scan)
    saved("sub-1_Chimap.nii.gz", np.ones((10, 9, 7), np.float32))
    with pytest.raises(InputError, match=r"sub-1_Chimap\.nii\.gz: shape \(10, 9, 7\) differs"):
        load_field_scan(scan)
