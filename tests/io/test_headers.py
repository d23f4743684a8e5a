"""Every file opens, or is refused in one line; headers that disagree are noticed."""

import gzip
import struct

import hypothesis
import hypothesis.strategies as st
import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt
from scans import save_nifti, small_scan, write_whole

from jaxqsm.io import InputError, load, load_mask, load_scan, save

DATA = np.random.default_rng(0).random((6, 7, 8)).astype(np.float32)


def _file(tmp_path, name="a.nii", data=DATA, affine=None):
    return save_nifti(tmp_path / name, data, np.diag([1.0, 2.0, 3.0, 1.0]) if affine is None else affine)


def _patched(path, offset, form, *values):
    content = bytearray(path.read_bytes())
    content[offset : offset + struct.calcsize(form)] = struct.pack("<" + form, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("offset", "form", "values"),
    [
        (70, "h", (26996,)),  # data type that nobody knows
        (70, "h", (1,)),  # one bit a voxel
        (112, "ff", (1.0, float("nan"))),  # intercept
        (42, "hhh", (30000, 30000, 30000)),  # 108 TB
        (42, "h", (-6,)),
        (42, "h", (0,)),
        (40, "h", (9,)),  # dimensions
        (108, "f", (float("nan"),)),  # where the data begin
        (108, "f", (1e30,)),
        (344, "4s", (b"ni1\0",)),  # of a pair whose other half is not there
        (0, "i", (77,)),
        (123, "B", (4,)),  # unit of length
    ],
)
def test_damaged_headers_are_refused_in_one_line(tmp_path, offset, form, values):
    with pytest.raises(InputError, match=r"a\.nii.*again") as raised:
        load(_patched(_file(tmp_path), offset, form, *values))
    assert "\n" not in str(raised.value)


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(st.integers(0, 347), st.integers(1, 255))
def test_any_byte_of_a_header_may_be_wrong(tmp_path_factory, place, change):
    path = _file(tmp_path_factory.mktemp("fuzz"))
    content = bytearray(path.read_bytes())
    content[place] ^= change
    path.write_bytes(content)
    try:
        dimensions = load(path, replace_nonfinite=True).data.ndim
    except InputError as error:
        dimensions = 3 if "a.nii" in str(error) else 0
    assert dimensions in (3, 4)


def test_flipped_bits_of_compressed_voxels_are_noticed(tmp_path):
    path = _file(tmp_path, "a.nii.gz")
    content = bytearray(path.read_bytes())
    for place in range(400, len(content) - 8, 97):
        flipped = bytearray(content)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(InputError, match="damaged"):
            load(path)
    path.write_bytes(gzip.compress(gzip.decompress(content))[:-4])
    with pytest.raises(InputError, match="again"):
        load(path)


def test_colours_and_complex_values_say_so(tmp_path):
    colours = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputError, match="colours"):
        load_mask(_file(tmp_path, data=colours))
    values = _file(tmp_path, "c.nii", (DATA + 1j * DATA).astype(np.complex64))
    with pytest.raises(InputError, match="--complex"):
        load(values)
    np.testing.assert_array_equal(load(values, allow_complex=True).data, DATA + 1j * DATA)


@pytest.mark.parametrize(("unit", "scale"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1.0), ("unknown", 1.0)])
def test_lengths_are_in_mm_whatever_the_header_is_in(tmp_path, unit, scale):
    image = nib.Nifti1Image(DATA, np.diag([0.5 * scale, 0.6 * scale, 2.0 * scale, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    read = load(tmp_path / "a.nii")
    np.testing.assert_allclose(read.grid.geometry().voxel_size, [0.5, 0.6, 2.0], rtol=1e-5)
    assert any("converted to mm" in text for text in read.grid.said) == (unit in ("meter", "micron"))
    save(tmp_path / "b.nii", read.data, read.grid)
    again = nib.load(tmp_path / "b.nii")
    np.testing.assert_allclose(again.affine, np.diag([0.5, 0.6, 2.0, 1]), rtol=1e-5)
    assert again.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("size", [1e-3, 400.0])
def test_voxels_that_cannot_be_are_refused_by_their_size(tmp_path, size):
    with pytest.raises(InputError, match=rf"{size:g}.*xyzt_units"):
        load(_file(tmp_path, affine=np.diag([size, size, size, 1])))


def _tilted(degrees):
    angle = np.radians(degrees)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return affine


@pytest.mark.parametrize(
    ("sform", "qform", "tilt", "mentions"),
    [
        ((25, 2), (0, 1), 0, "said: qform"),
        ((0, 1), (25, 2), 0, "said: sform"),
        ((25, 4), (10, 1), 10, "said: qform"),
        ((25, 1), (0, 1), 25, "doubt: no code tells"),
        ((25, 2), (0, 2), 25, "doubt: no code tells"),
        ((25, 1), (0, 0), 25, None),
        ((0, 0), (25, 1), 25, None),
        ((25, 1), (25, 1), 25, None),
        ((0, 4), (0, 0), 0, "doubt: atlas"),
        ((0, 0), (0, 0), 0, "doubt: no orientation"),
    ],
)
def test_the_scanners_form_says_where_the_field_is(tmp_path, sform, qform, tilt, mentions):
    image = nib.Nifti1Image(DATA, None)
    image.set_qform(_tilted(qform[0]), code=qform[1])
    image.set_sform(_tilted(sform[0]), code=sform[1])
    nib.save(image, tmp_path / "a.nii")
    grid = load(tmp_path / "a.nii").grid
    expected = _tilted(tilt)[2, :3]
    found = grid.stored_direction(np.asarray(grid.geometry().unit_b0_dir))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    said = {"said": grid.said, "doubt": grid.doubts}
    if mentions is None:
        assert not grid.said
        assert not grid.doubts
    else:
        kind, text = mentions.split(": ")
        assert any(text in sentence for sentence in said[kind])
    save(tmp_path / "b.nii", load(tmp_path / "a.nii").data, grid)
    again = nib.load(tmp_path / "b.nii").header
    assert (int(again["sform_code"]), int(again["qform_code"])) == (sform[1], qform[1])


@pytest.mark.parametrize("codes", ["RAS", "LAS", "PSR", "SLA", "IPL", "ARI"])
def test_files_are_held_in_one_order_and_written_in_their_own(tmp_path, codes):
    data = np.random.default_rng(0).random((4, 5, 6, 2)).astype(np.float32)
    affine = _tilted(10) @ np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = 3, 4, 5
    plain = nib.Nifti1Image(data, affine)
    turned = plain.as_reoriented(axcodes2ornt(codes))
    nib.save(turned, tmp_path / "a.nii")
    image = load(tmp_path / "a.nii")
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_allclose(image.affine, plain.affine, atol=1e-5)
    save(tmp_path / "b.nii", image.data, image.grid)
    again = nib.load(tmp_path / "b.nii")
    np.testing.assert_array_equal(again.get_fdata(), turned.get_fdata())
    np.testing.assert_allclose(again.affine, turned.affine, atol=1e-5)
    # A direction in voxel axes is one of the file's axes.
    stored = np.array([0.1, -0.5, 0.8])
    held = np.asarray(image.grid.geometry(b0_dir=stored).b0_dir)
    there, here = (a[:3, :3] / np.linalg.norm(a[:3, :3], axis=0) for a in (turned.affine, image.affine))
    np.testing.assert_allclose(here @ held, there @ (stored / np.linalg.norm(stored)), atol=1e-4)


def test_a_sidecars_field_direction_wins_over_the_header(tmp_path):
    scan = small_scan()
    files = write_whole(tmp_path, scan)
    (tmp_path / "scan_ph.json").write_text('{"B0_dir": [0, 1, 0]}')
    read = load_scan(**files)
    np.testing.assert_allclose(read.geometry.unit_b0_dir, [0, 1, 0], atol=1e-6)
    assert any("sidecar's B0_dir" in note for note in read.notes)
    assert any("90.0°" in warning for warning in read.warnings)
    asked = load_scan(**files, b0_dir=(1, 0, 0))
    np.testing.assert_allclose(asked.geometry.unit_b0_dir, [1, 0, 0], atol=1e-6)
    (tmp_path / "scan_ph.json").write_text('{"B0_dir": [0, 0, 0]}')
    with pytest.raises(InputError, match=r"scan_ph\.json: B0_dir"):
        load_scan(**files)


@pytest.mark.parametrize(
    ("values", "inside"),
    [
        ([0, 1, 1, 0], [0, 1, 1, 0]),
        ([0, 255, 255, 0], [0, 1, 1, 0]),
        ([0.2, 0.5, 0.9, 0.49], [0, 1, 1, 0]),
        ([1e-7, 1 - 1e-7, 1.04, -0.04], [0, 1, 1, 0]),
        ([np.nan, 1, 1, 0], [0, 1, 1, 0]),
        ([0, 1, 2, 3], None),
        ([0, 0, 2, 2], None),
        ([0, 50, 100, 0], None),
        ([0, 0.1, 0.4, 0], None),
        ([0, 0, 0, 0], None),
    ],
)
def test_masks_are_zero_and_one_or_probabilities(tmp_path, values, inside):
    data = np.zeros((2, 2, 2), np.float32)
    data.ravel()[:4] = values
    path = _file(tmp_path, data=data)
    if inside is None:
        with pytest.raises(InputError, match="mask"):
            load_mask(path)
        return
    np.testing.assert_array_equal(load_mask(path).data.ravel()[:4], np.asarray(inside, bool))
