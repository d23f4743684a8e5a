import json

import hypothesis
import hypothesis.strategies as st
import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxqsm import Geometry
from jaxqsm.io import (
    InputError,
    affine_from,
    find_scans,
    geometry_from,
    load,
    load_mask,
    load_scan,
    refuse_existing,
    save,
    save_json,
    staging,
)


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.integers(0, 10_000))
def test_geometry_of_any_rotated_flipped_affine(seed):
    """Field lines along scanner z, seen from the voxels: A · (b / voxel size) is along z."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.4, 3, 3)
    axes = Rotation.random(random_state=seed).as_matrix() * rng.choice([-1, 1], 3)
    affine = np.eye(4)
    affine[:3, :3] = axes * size
    affine[:3, 3] = rng.normal(0, 50, 3)
    geometry = geometry_from(affine)
    np.testing.assert_allclose(geometry.voxel_size, size, rtol=1e-5)
    along = affine[:3, :3] @ (np.asarray(geometry.b0_dir) / size)
    np.testing.assert_allclose(along, [0, 0, 1], atol=1e-5)


def test_affine_from_is_the_inverse():
    geometry = Geometry((0.7, 1.0, 2.0), (0.3, -0.4, 0.8))
    affine = affine_from(geometry, (10, 20, 30), centre=(1, 2, 3))
    again = geometry_from(affine)
    np.testing.assert_allclose(again.voxel_size, geometry.voxel_size, rtol=1e-6)
    np.testing.assert_allclose(again.b0_dir, geometry.unit_b0_dir, atol=1e-6)
    np.testing.assert_allclose(affine @ [4.5, 9.5, 14.5, 1], [1, 2, 3, 1], atol=1e-5)


def test_sheared_affine_and_wrong_directions_are_refused():
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(InputError, match="sheared"):
        geometry_from(sheared, path="a.nii")
    with pytest.raises(InputError, match="--b0-dir"):
        geometry_from(np.eye(4), b0_dir=(0, 0, 0))
    given = geometry_from(np.eye(4), b0_dir=(0, 3, 4))
    np.testing.assert_allclose(given.b0_dir, [0, 0.6, 0.8], rtol=1e-6)


def test_round_trip_keeps_values_affine_and_types(tmp_path):
    affine = affine_from(Geometry((0.7, 1.0, 2.0), (0.3, -0.4, 0.8)), (4, 5, 6))
    data = np.random.default_rng(0).standard_normal((4, 5, 6)).astype(np.float32)
    save(tmp_path / "a.nii.gz", data, affine)
    image = load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_allclose(image.affine, affine, atol=1e-6)
    save(tmp_path / "m.nii.gz", data > 0, affine)
    assert nib.load(tmp_path / "m.nii.gz").get_data_dtype() == np.uint8
    np.testing.assert_array_equal(load_mask(tmp_path / "m.nii.gz").data, data > 0)


def test_scaled_integers_are_read_in_their_units(tmp_path):
    image = nib.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.eye(4))
    image.header.set_slope_inter(0.5, -3.0)
    nib.save(image, tmp_path / "i.nii")
    np.testing.assert_allclose(load(tmp_path / "i.nii").data.ravel()[:3], [-3.0, -2.5, -2.0])


def test_broken_files_name_themselves_and_a_remedy(tmp_path):
    save(tmp_path / "whole.nii.gz", np.random.default_rng(0).random((20, 20, 20)), np.eye(4))
    content = (tmp_path / "whole.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.nii").write_text("hello")
    (tmp_path / "header.nii.gz").write_bytes(content[:20])
    for name in ("cut.nii.gz", "text.nii", "header.nii.gz"):
        with pytest.raises(InputError, match=f"{name}.*again"):
            load(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "missing.nii")
    spoiled = np.ones((4, 4, 4))
    spoiled[1, 1, 1], spoiled[2, 2, 2] = np.nan, np.inf
    save(tmp_path / "nan.nii.gz", spoiled, np.eye(4))
    with pytest.raises(InputError, match=r"2 voxels.*--replace-nonfinite"):
        load(tmp_path / "nan.nii.gz")
    assert load(tmp_path / "nan.nii.gz", replace_nonfinite=True).data.sum() == 62


def _write_scan(folder, *, echo_times=(0.004, 0.012), sidecars=True, integer=False, shape=(8, 8, 8)):
    rng = np.random.default_rng(0)
    phases, magnitudes = [], []
    for number, time in enumerate(echo_times, start=1):
        phase = rng.uniform(-np.pi, np.pi, shape)
        if integer:
            phase = np.rint((phase + np.pi) * 4095 / (2 * np.pi))
        for part, data, files in (
            ("phase", phase, phases),
            ("mag", 1 + rng.random(shape), magnitudes),
        ):
            path = folder / f"sub-1_echo-{number}_part-{part}_MEGRE.nii.gz"
            save(path, data, np.eye(4))
            files.append(path)
            if sidecars:
                content = {"EchoTime": time, "MagneticFieldStrength": 3}
                save_json(path.with_name(path.name[:-7] + ".json"), content)
    return phases, magnitudes


def test_scan_from_files_with_sidecars(tmp_path):
    phases, magnitudes = _write_scan(tmp_path, integer=True)
    scan = load_scan(phases, magnitudes)
    np.testing.assert_allclose(scan.acquisition.echo_times, [0.004, 0.012])
    assert float(scan.acquisition.field_strength) == 3
    assert scan.phase.shape == scan.magnitude.shape == (8, 8, 8, 2)
    assert any("rescaled" in note for note in scan.notes)


def test_echoes_are_sorted_by_time(tmp_path):
    phases, magnitudes = _write_scan(tmp_path, echo_times=(0.012, 0.004))
    scan = load_scan(phases, magnitudes)
    np.testing.assert_allclose(scan.acquisition.echo_times, [0.004, 0.012])
    np.testing.assert_allclose(scan.phase[..., 0], load(phases[1]).data, atol=1e-5)
    largest = max(load(path).data.max() for path in magnitudes)
    np.testing.assert_allclose(scan.magnitude[..., 0], load(magnitudes[1]).data / largest, atol=1e-5)


def test_options_override_sidecars_and_invert_flips(tmp_path):
    phases, magnitudes = _write_scan(tmp_path)
    plain = load_scan(phases, magnitudes)
    other = load_scan(
        phases,
        magnitudes,
        echo_times=(0.003, 0.006),
        field_strength=7,
        b0_dir=(0, 1, 0),
        invert_phase=True,
    )
    np.testing.assert_allclose(other.acquisition.echo_times, [0.003, 0.006])
    assert float(other.acquisition.field_strength) == 7
    np.testing.assert_allclose(other.geometry.b0_dir, [0, 1, 0])
    np.testing.assert_allclose(other.phase, -plain.phase)


@pytest.mark.parametrize(
    ("change", "mentions"),
    [
        ({"echo_times": (4.0, 12.0)}, "milliseconds"),
        ({"echo_times": (0.004,)}, "2 echoes but 1 echo times"),
        ({"echo_times": (0.004, 0.004)}, "two are equal"),
        ({"field_strength": 300.0}, "tesla"),
    ],
)
def test_implausible_parameters(tmp_path, change, mentions):
    phases, magnitudes = _write_scan(tmp_path)
    with pytest.raises(InputError, match=mentions):
        load_scan(phases, magnitudes, **change)


def test_parts_at_odds(tmp_path):
    phases, magnitudes = _write_scan(tmp_path)
    with pytest.raises(InputError, match="echoes of magnitude"):
        load_scan(phases, magnitudes[:1])
    with pytest.raises(InputError, match="a mask is needed"):
        load_scan(phases, [])
    phases[0].with_name(phases[0].name[:-7] + ".json").write_text("{broken")
    with pytest.raises(InputError, match="not valid JSON"):
        load_scan(phases, magnitudes)


def test_staging_moves_whole_or_nothing(tmp_path):
    out = tmp_path / "a" / "out"
    with staging(out) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "x.txt").write_text("new")
        assert not out.exists()
    assert (out / "sub" / "x.txt").read_text() == "new"
    (out / "keep.txt").write_text("mine")

    def fail():
        with staging(out) as partial:
            (partial / "y.txt").write_text("half")
            raise KeyError("boom")

    with pytest.raises(KeyError):
        fail()
    assert {p.name for p in out.rglob("*") if p.is_file()} == {"x.txt", "keep.txt"}
    assert not list(tmp_path.rglob(".jaxqsm-partial-*"))
    with pytest.raises(InputError, match="--overwrite"):
        refuse_existing([out], overwrite=False)
    refuse_existing([out], overwrite=True)
    refuse_existing([tmp_path / "new"], overwrite=False)


def test_json_has_no_nan(tmp_path):
    save_json(tmp_path / "a.json", {"a": float("nan"), "b": [1.0, float("inf")], "c": {"d": 1}})
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "a": None,
        "b": [1.0, None],
        "c": {"d": 1},
    }


def test_bids_scans_sessions_runs_and_masks(tmp_path):
    for folder, names in {
        "sub-1/anat": [
            "sub-1_echo-2_part-phase_MEGRE",
            "sub-1_echo-1_part-phase_MEGRE",
            "sub-1_T1w",
        ],
        "sub-2/ses-b/anat": [
            "sub-2_ses-b_run-1_echo-1_part-phase_MEGRE",
            "sub-2_ses-b_run-2_echo-1_part-phase_MEGRE",
            "sub-2_ses-b_acq-x_part-phase_T2starw",
        ],
    }.items():
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / folder / f"{name}.nii.gz").touch()
            (tmp_path / folder / f"{name.replace('part-phase', 'part-mag')}.nii.gz").touch()
    scans = find_scans(tmp_path)
    assert [s.name for s in scans] == [
        "sub-1",
        "sub-2_ses-b_acq-x",
        "sub-2_ses-b_run-1",
        "sub-2_ses-b_run-2",
    ]
    assert [p.name[6:12] for p in scans[0].phase] == ["echo-1", "echo-2"]
    assert len(scans[0].magnitude) == 2
    assert [s.name for s in find_scans(tmp_path, ["1"])] == ["sub-1"]
    assert len(find_scans(tmp_path, ["sub-2"])) == 3
    with pytest.raises(InputError, match="sub-9"):
        find_scans(tmp_path, ["9"])
    with pytest.raises(InputError, match="part-phase"):
        find_scans(tmp_path / "sub-1")
    masks = tmp_path / "derivatives" / "m" / "sub-2" / "ses-b" / "anat"
    masks.mkdir(parents=True)
    (masks / "sub-2_ses-b_mask.nii").touch()
    (masks / "sub-2_ses-b_run-2_desc-brain_mask.nii.gz").touch()
    root = tmp_path / "derivatives" / "m"
    assert scans[2].mask_in(root).name == "sub-2_ses-b_mask.nii"
    assert scans[3].mask_in(root).name == "sub-2_ses-b_run-2_desc-brain_mask.nii.gz"
    assert scans[0].mask_in(root) is None
