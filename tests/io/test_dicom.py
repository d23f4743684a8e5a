"""DICOM folders of three manufacturers, classic and enhanced, are the scan that they hold."""

import importlib.util

import numpy as np
import pytest
from dicoms import ECHO_TIMES, write_classic, write_enhanced

from jaxqsm.io import InputError, converted, load_scan

SHAPE = (20, 18, 12, 3)
VOXEL_SIZE = (1.0, 1.2, 2.0)


def _scan():
    x, y, z, echo = np.indices(SHAPE)
    phase = np.angle(np.exp(1j * (0.3 * x - 0.2 * y + 0.1 * z) * (echo + 1)))
    return 1000 * np.exp(-0.2 * echo) * (1 + 0.2 * np.sin(x / 3)), phase


def _stored(phase, magnitude, kind):
    unsigned = (phase + np.pi) * 4096 / (2 * np.pi)
    parts = {"magnitude": magnitude, "phase": np.clip(unsigned, 0, 4095)}
    if kind == "GE":
        parts["phase"] = np.clip(phase * 4096 / np.pi, -4096, 4095)
    if kind == "GE parts":
        parts |= {"real": magnitude * np.cos(phase), "imaginary": magnitude * np.sin(phase)}
        del parts["phase"]
    return {part: np.rint(values).astype(int) for part, values in parts.items()}


@pytest.mark.parametrize("kind", ["Siemens", "GE", "GE parts", "Philips", "enhanced"])
def test_a_folder_is_the_scan_in_it(tmp_path, kind):
    magnitude, phase = _scan()
    parts = _stored(phase, magnitude, kind)
    if kind == "enhanced":
        write_enhanced(tmp_path, parts, voxel_size=VOXEL_SIZE)
    else:
        write_classic(tmp_path / "a" / "b", parts, kind.split()[0], voxel_size=VOXEL_SIZE)
    with converted(tmp_path) as files:
        scan = load_scan(files.phase, files.magnitude, real=files.real, imaginary=files.imaginary)
    # DICOM's axes run to the left and to the back, those in memory to the right and to the front.
    gap = np.angle(np.exp(1j * (scan.phase - phase[::-1, ::-1])))
    assert np.abs(gap - np.median(gap)).max() < 3e-3
    np.testing.assert_allclose(
        scan.magnitude / scan.magnitude.max(), magnitude[::-1, ::-1] / magnitude.max(), atol=2e-3
    )
    np.testing.assert_allclose(scan.acquisition.echo_times, np.asarray(ECHO_TIMES) / 1000, rtol=1e-5)
    np.testing.assert_allclose(scan.geometry.voxel_size, VOXEL_SIZE, rtol=1e-5)
    assert float(scan.acquisition.field_strength) == 3
    assert scan.warnings == ()


def test_what_is_no_scan_is_refused_in_one_line(tmp_path, monkeypatch):
    def refused(folder, mentions):
        with pytest.raises(InputError, match=mentions) as raised, converted(folder):
            pass
        assert "\n" not in str(raised.value)

    refused(tmp_path / "missing", "no such folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "finds no images")
    magnitude, phase = _scan()
    parts = _stored(phase, magnitude, "Siemens")
    write_classic(tmp_path / "alone", {"magnitude": parts["magnitude"]}, "Siemens")
    refused(tmp_path / "alone", "no phase images")
    write_classic(tmp_path / "two" / "1", parts, "Siemens")
    write_classic(tmp_path / "two" / "2", parts, "Siemens")
    refused(tmp_path / "two", "several scans")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused(tmp_path / "alone", r"jaxqsm\[dicom\]")
