import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ball, smooth_blobs
from qsm_ci import qsm_eval
from skimage.metrics import structural_similarity

from jaxqsm import metrics

SHAPE = (24, 22, 20)


@pytest.fixture
def pair(x64):
    mask = ball(SHAPE, 9)
    rng = np.random.default_rng(0)
    truth = np.where(mask, 0.1 * smooth_blobs(SHAPE, 1), 0)
    image = np.where(mask, 0.8 * truth + 0.02 * rng.standard_normal(SHAPE) + 0.01, 0)
    labels = np.where(mask, 1 + np.indices(SHAPE)[0] // 4, 0)
    return image, truth, mask, labels


def test_equal_to_qsm_ci(pair):
    image, truth, mask, labels = pair
    theirs, _ = qsm_eval.score_arrays(image, truth, mask, seg=labels)
    ours = metrics.summary(*map(jnp.asarray, pair))
    for name, their_name in (
        ("nrmse", "nrmse"),
        ("detrended_nrmse", "nrmse_detrend"),
        ("correlation", "correlation"),
        ("xsim", "xsim"),
        ("hfen", "hfen"),
    ):
        assert ours[name] == pytest.approx(theirs[their_name], rel=1e-8), name
    assert abs(1 - ours["regional_slope"]) == pytest.approx(theirs["dgm_linearity"], rel=1e-8)


def test_outside_the_mask_does_not_count(pair):
    image, truth, mask, labels = map(jnp.asarray, pair)
    spoiled = jnp.where(mask, image, 5.0)
    assert metrics.summary(spoiled, truth, mask, labels) == metrics.summary(image, truth, mask, labels)


def test_ssim_equals_scikit_image(pair):
    image, truth, mask, _ = pair
    _, theirs = structural_similarity(image, truth, win_size=7, data_range=0.2, full=True)
    inner = np.zeros(SHAPE, bool)
    inner[3:-3, 3:-3, 3:-3] = True  # windows there are whole; at the border conventions differ
    inside = mask & inner
    ours = metrics.ssim(jnp.asarray(image), jnp.asarray(truth), jnp.asarray(inside))
    assert float(ours) == pytest.approx(theirs[inside].mean(), rel=1e-8)


def test_identity_and_offset(pair):
    _, truth, mask, labels = map(jnp.asarray, pair)
    scores = metrics.summary(truth, truth, mask, labels)
    for name, perfect in (("nrmse", 0), ("hfen", 0), ("xsim", 1), ("ssim", 1), ("slope", 1)):
        assert scores[name] == pytest.approx(perfect, abs=1e-9)
    assert float(metrics.nrmse(truth + 3, truth, mask)) == pytest.approx(0, abs=1e-9)
    assert float(metrics.detrended_nrmse(0.5 * truth, truth, mask)) == pytest.approx(0, abs=1e-9)
    assert float(metrics.nrmse(0.5 * truth, truth, mask)) == pytest.approx(50)


def test_regions_without_voxels_are_left_out(pair):
    image, truth, mask, labels = map(jnp.asarray, pair)
    assert jnp.isnan(metrics.regional_means(image, labels, mask, (99,)))[0]
    some = metrics.regional_slope(image, truth, labels, mask, (2, 3, 4))
    assert float(metrics.regional_slope(image, truth, labels, mask, (2, 3, 4, 99))) == pytest.approx(
        float(some)
    )
