"""Size relative to an adult's brain, and that a piece of a head is none of a small animal."""

import numpy as np
import pytest
from helpers import INVIVO, SHARED, ball, of_reference_data

from jaxqsm import Geometry
from jaxqsm.io import load, load_scan
from jaxqsm.masking import is_cut_out, magnitude, object_scale

TWO_ECHOES = SHARED / "data" / "invivo_two_echoes"


def test_follows_the_voxel_size_and_is_one_for_a_brain():
    mask = ball((40, 40, 40), 17)
    litre = Geometry((4.0, 4.0, 4.0))
    radius = np.cbrt(3 * 1.4e6 / (4 * np.pi))
    assert object_scale(mask, litre) == pytest.approx(17 * 4 / radius, rel=0.02)
    assert object_scale(mask, litre.scaled(0.1)) == pytest.approx(
        0.1 * float(object_scale(mask, litre)), rel=1e-5
    )
    with pytest.raises(ValueError, match="empty"):
        object_scale(np.zeros((4, 4, 4), bool), litre)


def test_a_piece_of_a_head_is_of_adult_size_unless_it_is_thin():
    whole = np.ones((30, 30, 30), bool)
    assert is_cut_out(whole, Geometry())
    assert object_scale(whole, Geometry()) == 1
    assert object_scale(whole, Geometry((0.1, 0.1, 0.1))) == pytest.approx(0.15, rel=0.1)
    assert not is_cut_out(np.pad(whole, 1), Geometry())


@of_reference_data
def test_in_vivo_crop_stays_whole():
    image = load(INVIVO / "mag.nii.gz")
    geometry = image.grid.geometry()
    mask = magnitude(image.data, geometry)
    assert mask.mean() > 0.95
    assert object_scale(mask, geometry) == 1


@pytest.mark.parametrize("scale", [1.0, 0.08])
@of_reference_data
def test_mask_of_a_real_head_is_its_brain_without_the_neck(scale):
    """The neck reaches the lower end of the field of view; deepbet finds 1552 cm³ of brain."""
    names = [TWO_ECHOES / f"2001_WIP_fcMRI_Field_Mapping_enh_e{e}" for e in (1, 2)]
    scan = load_scan(
        [n.with_name(f"{n.name}_ph.nii.gz") for n in names], [n.with_name(f"{n.name}.nii.gz") for n in names]
    )
    geometry = scan.geometry.scaled(scale)
    mask = magnitude(scan.magnitude, geometry)
    volume = mask.sum() * float(geometry.voxel_volume) / scale**3 / 1000
    assert 1350 < volume < 1700
    assert not mask[:, :, :3].any()
    assert object_scale(mask, geometry) == pytest.approx(scale, rel=0.06)
