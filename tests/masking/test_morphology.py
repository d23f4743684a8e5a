"""Distances and parts are SciPy's, watersheds scikit-image's, on any device and under jit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ball
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from jaxqsm import Geometry
from jaxqsm.masking import magnitude, morphology, phase_quality
from jaxqsm.masking.magnitude import SADDLE, _basin
from jaxqsm.masking.otsu import otsu

SHAPE = (30, 26, 22)
GEOMETRY = Geometry((1.0, 1.3, 2.1))
SIDES = (1.0, 1.3, 2.1)


@pytest.fixture
def on_device(monkeypatch):
    """What accelerators compute, on the CPU."""
    monkeypatch.setattr(morphology, "host_on_cpu", lambda host, device, kind, *arrays: device(*arrays))


def _blobs(seed=0, level=0.1):
    noise = np.random.default_rng(seed).standard_normal(SHAPE)
    return ndimage.gaussian_filter(noise, 1.5) > level * 0.2


@pytest.mark.parametrize("reach", [np.inf, 3.0])
def test_distance_on_accelerators_is_that_of_scipy(on_device, reach):
    mask = _blobs()
    expected = ndimage.distance_transform_edt(mask, sampling=SIDES)
    found = np.asarray(morphology.depth(jnp.asarray(mask), GEOMETRY, reach=reach))
    near = expected <= reach
    assert near.sum() > 1000
    np.testing.assert_allclose(found[near], expected[near], rtol=1e-5)
    assert (found[~near] > reach).all()


def test_distance_where_nothing_is_outside(on_device):
    diagonal = np.linalg.norm(np.array(SHAPE) * SIDES)
    np.testing.assert_allclose(morphology.depth(jnp.ones(SHAPE, bool), GEOMETRY), diagonal, rtol=1e-6)


def test_parts_on_accelerators_are_those_of_scipy(on_device):
    mask = _blobs(1, 0.5)
    labels, count = ndimage.label(mask)
    assert count > 5
    expected = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    np.testing.assert_array_equal(morphology.largest(jnp.asarray(mask)), expected)
    shell = ball(SHAPE, 9) & ~ball(SHAPE, 6)
    filled = morphology.without_holes(jnp.asarray(shell))
    np.testing.assert_array_equal(filled, ndimage.binary_fill_holes(shell))
    assert np.asarray(filled).sum() > shell.sum()
    assert not np.asarray(morphology.largest(jnp.zeros(SHAPE, bool))).any()


def test_basin_of_the_deepest_voxel_is_that_of_a_watershed():
    """Two balls joined by a neck come apart, and a bump of one does not."""
    x, y, z = np.indices((60, 36, 36))

    def round_about(x0, y0, radius):
        return (x - x0) ** 2 + (y - y0) ** 2 + (z - 18) ** 2 < radius**2

    parts = round_about(20, 18, 14) | round_about(44, 18, 10) | round_about(20, 30, 5)
    far = ndimage.distance_transform_edt(parts)
    smooth = ndimage.gaussian_filter(far, 1.0)
    tops, count = ndimage.label(h_maxima(smooth, SADDLE * far.max()))
    assert count == 2
    regions = watershed(-smooth, tops, mask=parts)
    expected = regions == regions[20, 18, 18]
    found = np.asarray(_basin(jnp.asarray(parts), jnp.asarray(far, jnp.float32)))
    assert (found ^ expected).sum() < 0.005 * expected.sum()
    assert found[20, 33, 18]
    assert not found[46, 18, 18]


def test_otsu_is_that_of_scikit_image():
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(1, 0.3, 4000), random.normal(3, 0.5, 1000)]).astype(np.float32)
    assert float(otsu(jnp.asarray(values))) == pytest.approx(threshold_otsu(values), rel=1e-4)


@pytest.mark.parametrize("erosion", [None, 2.2])
@pytest.mark.parametrize("method", [magnitude, phase_quality])
def test_masks_under_jit_and_on_accelerators_are_those_of_the_host(method, erosion, request):
    random = np.random.default_rng(0)
    truth = ball((40, 36, 26), 11)
    x = np.indices(truth.shape)[0]
    if method is magnitude:
        image = np.abs(truth * (0.4 + 0.03 * x) + 0.03 * random.standard_normal(truth.shape))
    else:
        image = np.where(truth, np.angle(np.exp(0.7j * x)), random.uniform(-np.pi, np.pi, truth.shape))
    image, geometry = jnp.asarray(image, jnp.float32), Geometry((1.0, 1.0, 1.4))
    mask = method(image, geometry, erosion=erosion)
    assert mask.sum() > 0.5 * truth.sum()

    def again(image, geometry):
        return method(image, geometry, erosion=erosion)

    np.testing.assert_array_equal(jax.jit(again)(image, geometry), mask)
    two = jax.vmap(lambda image: again(image, geometry))(jnp.stack([image, image[::-1]]))
    np.testing.assert_array_equal(two[0], mask)
    request.getfixturevalue("on_device")
    np.testing.assert_array_equal(again(image, geometry), mask)
