import jax
import nibabel as nib
import numpy as np
import pytest
from helpers import INVIVO, ball, of_reference_data
from scipy import ndimage

from jaxqsm import Acquisition, Geometry
from jaxqsm.masking import magnitude
from jaxqsm.phantoms import head
from jaxqsm.simulation import simulate_scan


def test_head_keeps_the_brain_and_leaves_the_scalp():
    phantom = head((2.0, 2.0, 2.0))
    geometry = Geometry((2.0, 2.0, 2.0))
    scan = simulate_scan(phantom, geometry, Acquisition((0.004, 0.02), 3.0), key=jax.random.key(0))
    mask = magnitude(np.abs(scan.signal), geometry)
    overlap = 2 * (mask & phantom.mask).sum() / (mask.sum() + phantom.mask.sum())
    assert overlap > 0.92
    assert (mask & phantom.mask).sum() / phantom.mask.sum() > 0.97


def test_ball_under_a_receive_field_on_anisotropic_voxels():
    shape = (48, 48, 24)
    truth = ball((48, 48, 48), 16)[:, :, ::2]
    x = np.indices(shape)[0]
    rng = np.random.default_rng(0)
    image = np.abs(truth * (0.4 + 1.2 * x / 48) + 0.03 * rng.standard_normal(shape))
    mask = magnitude(image, Geometry((2.0, 2.0, 4.0)), erosion=0)
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.95


@of_reference_data
def test_crop_of_brain_is_all_signal():
    image = nib.load(INVIVO / "mag.nii.gz")
    mask = magnitude(np.asarray(image.dataobj), Geometry(image.header.get_zooms()[:3]))
    assert mask.mean() > 0.9


def test_erosion_takes_a_layer_of_voxels_or_mm_but_not_at_the_border_of_the_array():
    image = ball((40, 40, 40), 14)[20:].astype(float)
    image += 0.01 * np.random.default_rng(0).random(image.shape)
    geometry = Geometry((2.0, 2.0, 3.0))
    whole, by_default, by_length = (magnitude(image, geometry, erosion=mm) for mm in (0.0, None, 4.5))
    np.testing.assert_array_equal(by_default, ndimage.binary_erosion(whole, border_value=1))
    # 4.5 mm are two voxels of 2 mm and one of 3 mm: a step to the nearest voxel outside must be longer.
    np.testing.assert_array_equal(by_length, ndimage.distance_transform_edt(whole, (2, 2, 3)) > 4.5)
    assert by_length[0].any()
    assert by_length.sum() < by_default.sum()


def test_partly_filled_voxels_of_the_border_are_left_out():
    """By default no voxel of the mask holds a tenth of air or bone, at any resolution."""
    phantom = head((3.0, 3.0, 3.0))
    geometry = Geometry((3.0, 3.0, 3.0))
    scan = simulate_scan(phantom, geometry, Acquisition((0.004, 0.02), 3.0), key=jax.random.key(0))
    mask = magnitude(np.abs(scan.signal), geometry)
    assert (np.abs(np.asarray(phantom.chi)[mask]) > 0.9).mean() < 0.01


def test_nothing_to_find_is_said():
    with pytest.raises(ValueError, match="constant"):
        magnitude(np.ones((8, 8, 8)), Geometry())
