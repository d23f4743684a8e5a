"""The brain extractor of others finds the phantom's brain, whichever way the volume is stored."""

import jax
import nibabel
import numpy as np
import pytest
from helpers import jaxqsm

from jaxqsm import Acquisition, Geometry
from jaxqsm.io import save
from jaxqsm.masking import deepbet
from jaxqsm.phantoms import head
from jaxqsm.simulation import simulate_scan


def _overlap(mask, brain):
    return 2 * (mask & brain).sum() / (mask.sum() + brain.sum())


@pytest.mark.slow
def test_brain_in_any_orientation_and_by_the_command(tmp_path):
    phantom, geometry = head((2.0, 2.0, 2.0)), Geometry((2.0, 2.0, 2.0))
    scan = simulate_scan(phantom, geometry, Acquisition((0.004,), 3.0), key=jax.random.key(0))
    image, brain = np.abs(np.asarray(scan.signal)), np.asarray(phantom.mask)
    upright = deepbet(image, geometry)
    assert _overlap(upright, brain) > 0.92
    # Axes in another order, one reversed: the affine says so, and the mask is the same one.
    turned = np.ascontiguousarray(image[..., 0].transpose(2, 0, 1)[:, ::-1])
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 2, -2, 2, 1
    affine[0, 3] = 2 * (image.shape[0] - 1)
    save(tmp_path / "mag.nii.gz", turned, affine)
    done = jaxqsm("mask", tmp_path / "mag.nii.gz", "--out", tmp_path / "m.nii.gz", "--method", "deepbet")
    assert done.returncode == 0, done.stderr
    stored = nibabel.load(tmp_path / "m.nii.gz").get_fdata() > 0
    assert _overlap(stored[:, ::-1].transpose(1, 2, 0), upright) > 0.99


def test_says_what_is_missing(monkeypatch):
    with pytest.raises(ValueError, match="no brain"):
        deepbet(np.zeros((40, 40, 40)), Geometry())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'jaxqsm\[brain\]'"):
        deepbet(np.ones((4, 4, 4)), Geometry())
