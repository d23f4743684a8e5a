"""Veins are found as dark tubes, whatever the voxel size; plates, balls and the border are not."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ball

from jaxqsm import Geometry
from jaxqsm.masking import vessels

SHAPE = (40, 40, 40)


@pytest.mark.parametrize("voxel_size", [(1.0, 1.0, 1.0), (0.8, 1.0, 1.4)])
def test_tubes_and_nothing_else(voxel_size):
    geometry = Geometry(voxel_size)
    x, y, z = ((np.arange(n) - n / 2) * d for n, d in zip(SHAPE, voxel_size, strict=True))
    x, y, z = x[:, None, None], y[None, :, None], z[None, None, :]
    mask = ball(SHAPE, 16)
    tube = ((x - 4) ** 2 + (y - 0.3 * z) ** 2 < 1.6**2) & mask
    plate = (np.abs(x + 6) < 1.2) & np.ones(SHAPE, bool) & mask
    bright = ((x + 1) ** 2 + (z - 5) ** 2 < 1.6**2) & mask
    image = 100.0 - 50 * tube - 50 * plate + 50 * bright
    part = 1.2 * tube.sum() / mask.sum()
    found = np.asarray(vessels(jnp.asarray(image * mask), jnp.asarray(mask), geometry, part=float(part)))
    core = ball(SHAPE, 13)
    assert found[tube & core].mean() > 0.7
    assert found[plate & core].mean() < 0.1
    assert found[bright & core].mean() < 0.1
    assert not (found & ~mask).any()
    assert found.sum() <= part * mask.sum() + 1
