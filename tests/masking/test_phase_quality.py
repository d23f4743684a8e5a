import numpy as np
import pytest
from helpers import INVIVO, ball, jaxqsm, of_reference_data

from jaxqsm import Geometry
from jaxqsm.io import load, save
from jaxqsm.masking import phase_quality

SHAPE = (48, 44, 30)
GEOMETRY = Geometry((1.0, 1.0, 1.5))


@pytest.fixture(scope="module")
def phase():
    """A steep, wrapping ramp with some noise in a ball with a hole; noise of all phases elsewhere."""
    x, y, z = np.indices(SHAPE)
    random = np.random.default_rng(0)
    whole = ball(SHAPE, 13)
    smooth = 1.1 * x - 0.7 * y + 0.4 * z + random.normal(0, 0.2, SHAPE)
    hole = (abs(x - 24) < 2) & (abs(y - 22) < 2) & (abs(z - 15) < 2)
    noise = random.uniform(-np.pi, np.pi, SHAPE)
    return np.angle(np.exp(1j * np.where(whole & ~hole, smooth, noise))), whole


def test_finds_what_is_smooth_and_fills_its_holes(phase):
    image, whole = phase
    found = phase_quality(image, GEOMETRY, erosion=0)
    assert 2 * (found & whole).sum() / (found.sum() + whole.sum()) > 0.93
    assert found[24, 22, 15]
    eroded = phase_quality(image, GEOMETRY)
    assert (eroded <= found).all()
    assert eroded.sum() < found.sum()
    two = phase_quality(np.stack([image, image], axis=-1), GEOMETRY, erosion=0)
    np.testing.assert_array_equal(two, found)


def test_whole_turns_do_not_matter(phase):
    image, _ = phase
    turned = np.angle(np.exp(1j * (image + 2.0)))
    assert (phase_quality(turned, GEOMETRY) != phase_quality(image, GEOMETRY)).mean() < 1e-3


def test_refuses_what_has_no_phase():
    with pytest.raises(ValueError, match="constant"):
        phase_quality(np.zeros(SHAPE), GEOMETRY)


def test_command(phase, tmp_path):
    image, whole = phase
    save(tmp_path / "phase.nii.gz", image.astype(np.float32), np.diag([1.0, 1.0, 1.5, 1.0]))
    arguments = ("mask", tmp_path / "phase.nii.gz", "--out", tmp_path / "mask.nii.gz")
    done = jaxqsm(*arguments, "--method", "phase_quality", "--erosion", 0)
    assert done.returncode == 0, done.stderr
    found = load(tmp_path / "mask.nii.gz").data > 0
    assert (found == whole).mean() > 0.96
    done = jaxqsm(*arguments, "--method", "nothing", "--overwrite")
    assert done.returncode == 2
    assert "phase_quality" in done.stderr


@of_reference_data
def test_in_vivo_crop_is_nearly_all_signal(tmp_path):
    done = jaxqsm(
        "mask", INVIVO / "phase.nii.gz", "--method", "phase_quality", "--out", tmp_path / "m.nii.gz"
    )
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "m.nii.gz").data.mean() > 0.7
