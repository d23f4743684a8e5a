"""Files that contradict each other, or are not what they are passed as, are never used in silence."""

import json

import numpy as np
import pytest
from scans import read, save_nifti, small_scan, write_echoes, write_whole

from jaxqsm.io import InputError, load_scan

SCAN = small_scan()


def test_echo_times_that_contradict_the_sidecars(tmp_path):
    phases, magnitudes = write_echoes(tmp_path, SCAN)
    turned = [phases[i] for i in (0, 2, 1)], [magnitudes[i] for i in (0, 2, 1)]
    plain = load_scan(phases, magnitudes)
    again = load_scan(*turned)
    np.testing.assert_array_equal(again.phase, plain.phase)
    np.testing.assert_array_equal(again.magnitude, plain.magnitude)
    with pytest.raises(InputError, match="order of the times"):
        load_scan(*turned, echo_times=SCAN.echo_times)
    others = load_scan(phases, magnitudes, echo_times=(0.003, 0.006, 0.009))
    assert any("sidecars of --phase say 0.004" in w for w in others.warnings)
    assert not load_scan(phases, magnitudes, echo_times=SCAN.echo_times).warnings


def test_magnitude_files_in_another_order(tmp_path):
    phases, magnitudes = write_echoes(tmp_path, SCAN)
    plain = load_scan(phases, magnitudes)
    told = load_scan(phases, magnitudes[::-1])  # their sidecars tell
    np.testing.assert_array_equal(told.magnitude, plain.magnitude)
    for path in magnitudes:
        path.with_suffix(".json").unlink()
    silent = load_scan(phases, magnitudes[::-1])
    assert any("rises by" in w and "same order" in w for w in silent.warnings)
    assert not load_scan(phases, magnitudes).warnings


def test_phase_without_sidecars_is_in_the_order_of_the_magnitude(tmp_path):
    phases, magnitudes = write_echoes(tmp_path, SCAN)
    plain = load_scan(phases, magnitudes)
    for path in phases:
        path.with_suffix(".json").unlink()
    turned = load_scan([phases[i] for i in (2, 0, 1)], [magnitudes[i] for i in (2, 0, 1)])
    np.testing.assert_array_equal(turned.phase, plain.phase)
    np.testing.assert_array_equal(turned.magnitude, plain.magnitude)


def test_parts_of_different_scans(tmp_path):
    phases, magnitudes = write_echoes(tmp_path, SCAN)
    entry = magnitudes[1].with_suffix(".json")
    entry.write_text(json.dumps({"EchoTime": 0.02, "MagneticFieldStrength": 3}))
    with pytest.raises(InputError, match="are both of one scan"):
        load_scan(phases, magnitudes)
    entry.write_text(json.dumps({"EchoTime": 0.008, "MagneticFieldStrength": 7}))
    with pytest.raises(InputError, match="MagneticFieldStrength"):
        load_scan(phases, magnitudes)


def test_phase_and_magnitude_exchanged(tmp_path):
    files = write_whole(tmp_path, SCAN)
    exchanged = {**files, "phase": files["magnitude"], "magnitude": files["phase"]}
    with pytest.raises(InputError, match="negative"):
        load_scan(**exchanged)
    unsigned = save_nifti(
        tmp_path / "u.nii", np.rint((SCAN.phase + np.pi) * 4095 / (2 * np.pi)).astype(np.int16), SCAN.affine
    )
    with pytest.raises(InputError, match="exchanged"):
        load_scan(**{**files, "phase": files["magnitude"], "magnitude": [unsigned]})
    with pytest.raises(InputError, match="the same image"):
        load_scan(**{**files, "magnitude": files["phase"]} | {"phase": files["phase"]})
    with pytest.raises(InputError, match="magnitude"):
        load_scan(**{**files, "phase": files["magnitude"]})


@pytest.mark.parametrize(
    ("part", "image_type", "refused"),
    [
        ("ph", ["ORIGINAL", "PRIMARY", "M", "ND"], True),
        ("ph", ["ORIGINAL", "PRIMARY", "P", "ND"], False),
        ("mag", ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"], True),
        ("mag", "ORIGINAL\\PRIMARY\\M_FFE\\M\\FFE", False),
        ("ph", ["ORIGINAL", "PRIMARY", "T1", "MIXED", "PHASE"], False),
        ("mag", ["DERIVED", "SECONDARY", "REAL"], True),
    ],
)
def test_the_sidecar_says_what_an_image_is(tmp_path, part, image_type, refused):
    files = write_whole(tmp_path, SCAN)
    (tmp_path / f"scan_{part}.json").write_text(json.dumps({"ImageType": image_type}))
    if refused:
        with pytest.raises(InputError, match="ImageType"):
            load_scan(**files)
    else:
        load_scan(**files)


def test_each_file_of_phase_has_a_scale_of_its_own(tmp_path):
    whole = read(tmp_path, SCAN)
    integer = np.rint((SCAN.phase + np.pi) / (2 * np.pi) * 4095).astype(np.int16)
    stored = [
        1000 * SCAN.phase[..., 0],  # milliradians
        SCAN.phase[..., 1],
        integer[..., 2] * 2 - 4096,  # −4096 … 4094
    ]
    paths = [save_nifti(tmp_path / f"p{i}.nii", p, SCAN.affine) for i, p in enumerate(stored)]
    mixed = load_scan(paths, **{k: v for k, v in write_whole(tmp_path, SCAN).items() if k != "phase"})
    assert np.abs(np.angle(np.exp(1j * (mixed.phase - whole.phase)))).max() < 0.003
    assert any("different scales" in w for w in mixed.warnings)
    # One echo that does not fill its range has the scale of the others.
    narrow = [integer[..., 0] // 8 + 1800, integer[..., 1], integer[..., 2]]
    paths = [
        save_nifti(tmp_path / f"n{i}.nii", p.astype(np.int16), SCAN.affine) for i, p in enumerate(narrow)
    ]
    shared = load_scan(paths, **{k: v for k, v in write_whole(tmp_path, SCAN).items() if k != "phase"})
    assert np.abs(shared.phase[..., 0]).max() < 1
    assert not any("different scales" in w for w in shared.warnings)


def test_complex_and_two_part_images_are_the_scan(tmp_path):
    whole = read(tmp_path, SCAN)
    options = {k: v for k, v in write_whole(tmp_path, SCAN).items() if k not in ("phase", "magnitude")}
    both = save_nifti(tmp_path / "c.nii", SCAN.signal.astype(np.complex64), SCAN.affine)
    real = save_nifti(tmp_path / "r.nii", SCAN.signal.real.astype(np.float32), SCAN.affine)
    imaginary = save_nifti(tmp_path / "i.nii", SCAN.signal.imag.astype(np.float32), SCAN.affine)
    for scan in (
        load_scan(complex_images=[both], **options),
        load_scan(real=[real], imaginary=[imaginary], **options),
    ):
        np.testing.assert_allclose(np.angle(np.exp(1j * (scan.phase - whole.phase))), 0, atol=1e-5)
        np.testing.assert_allclose(scan.magnitude, whole.magnitude, rtol=1e-5)
    with pytest.raises(InputError, match="each needs the other"):
        load_scan(real=[real], **options)
    with pytest.raises(InputError, match="not both"):
        load_scan([both], complex_images=[both], **options)
    with pytest.raises(InputError, match="no complex values"):
        load_scan(complex_images=[real], **options)


@pytest.mark.parametrize("scale", [1e-10, 1e-3, 4095.0, 1e18])
def test_the_unit_of_the_magnitude_does_not_matter(tmp_path, scale):
    files = write_whole(tmp_path, SCAN)
    other = save_nifti(tmp_path / "m.nii", (SCAN.magnitude * scale).astype(np.float32), SCAN.affine)
    plain, scaled = load_scan(**files), load_scan(**{**files, "magnitude": [other]})
    np.testing.assert_allclose(scaled.magnitude, plain.magnitude, rtol=1e-5, atol=1e-7)


def test_nan_outside_the_mask_is_nothing_and_inside_is_refused(tmp_path):
    scan = SCAN.shifted(phase=3.0)  # which wraps within the mask, so that its scale is known
    files = write_whole(tmp_path, scan)
    hollow = np.where(SCAN.mask[..., None], scan.phase, np.nan)
    scan = load_scan(**{**files, "phase": [save_nifti(tmp_path / "p.nii", hollow, SCAN.affine)]})
    np.testing.assert_array_equal(scan.mask, SCAN.mask)
    assert any("NaN" in note for note in scan.notes)
    hollow[14, 13, 12, 1] = np.nan
    files["phase"] = [save_nifti(tmp_path / "p.nii", hollow, SCAN.affine)]
    with pytest.raises(InputError, match=r"1 voxels.*inside the mask.*--replace-nonfinite"):
        load_scan(**files)
    replaced = load_scan(**files, replace_nonfinite=True)
    assert replaced.mask.sum() == SCAN.mask.sum() - 1


@pytest.mark.parametrize(
    ("content", "mentions"),
    [
        (b'{"EchoTime": {"a": 1}}', "EchoTime"),
        (b'{"EchoTime": [0.004, "x", 0.012]}', "EchoTime"),
        (b'{"EchoTime": [0.004, true, 0.012]}', "EchoTime"),
        (b'{"MagneticFieldStrength": "strong"}', "MagneticFieldStrength"),
        (b'{"MagneticFieldStrength": [3]}', "MagneticFieldStrength"),
        (b'{"MagneticFieldStrength": 1e999}', "MagneticFieldStrength"),
        (b'{"Units": 7}', "Units"),
        (b'{"Units": ["rad", "deg"]}', "Units"),
        (b'{"B0_dir": "up"}', "B0_dir"),
        (b'{"B0_dir": [1, 2]}', "B0_dir"),
        (b"[1, 2]", "no JSON object"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_sidecars_of_wrong_kinds_name_file_and_field(tmp_path, content, mentions):
    files = write_whole(tmp_path, SCAN)
    del files["field_strength"], files["echo_times"]
    (tmp_path / "scan_ph.json").write_bytes(content)
    entries = {"EchoTime": SCAN.echo_times, "MagneticFieldStrength": 3}
    (tmp_path / "scan_mag.json").write_text(json.dumps(entries))
    with pytest.raises(InputError, match=rf"scan_ph\.json.*{mentions}"):
        load_scan(**files)


@pytest.mark.parametrize(
    "content",
    [
        b'{"EchoTime": [0.004, 0.008, 0.012], "MagneticFieldStrength": "3", "Units": ["rad"]}',
        b'\xef\xbb\xbf{"EchoTime": ["0.004", "0.008", "0.012"], "MagneticFieldStrength": 3.0}',
        b'{"EchoTime": [0.004, 0.008, 0.012], "ImagingFrequency": 127.732}',
    ],
)
def test_sidecars_that_can_be_understood_are(tmp_path, content):
    files = write_whole(tmp_path, SCAN)
    del files["field_strength"], files["echo_times"]
    (tmp_path / "scan_ph.json").write_bytes(content)
    scan = load_scan(**files)
    assert float(scan.acquisition.field_strength) == pytest.approx(3, rel=1e-3)
    np.testing.assert_allclose(scan.acquisition.echo_times, SCAN.echo_times)
