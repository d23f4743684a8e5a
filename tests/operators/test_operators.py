from functools import partial

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_adjoint, assert_gradient, ball
from scipy import ndimage

from jaxqsm import Geometry
from jaxqsm.operators import (
    all_frequencies,
    crop,
    divergence,
    erode,
    fast_shape,
    frequencies,
    gaussian_mean,
    gradient,
    laplacian,
    laplacian_symbol,
    pad,
    peel,
    spherical_kernel,
    spherical_mean,
    weighted_mean,
)

GEOMETRY = Geometry((1.0, 1.5, 2.0), (0.1, 0.2, 0.9))


@pytest.mark.parametrize("boundary", ["periodic", "neumann"])
def test_divergence_is_minus_the_adjoint_of_gradient(boundary, x64):
    geometry = Geometry((1.0, 1.5, 2.0))
    assert_adjoint(
        lambda u: gradient(u, geometry, boundary=boundary),
        lambda v: -divergence(v, geometry, boundary=boundary),
        (6, 7, 8),
    )


def test_gradient_of_a_ramp_is_its_slope_per_mm():
    x, y, z = np.indices((6, 7, 8))
    ramp = jnp.asarray(2.0 * x * 1.0 - 3.0 * y * 1.5 + 0.5 * z * 2.0)
    along = gradient(ramp, GEOMETRY, boundary="neumann")
    for axis, slope in enumerate((2.0, -3.0, 0.5)):
        inner = np.take(np.asarray(along[axis]), range(ramp.shape[axis] - 1), axis=axis)
        np.testing.assert_allclose(inner, slope, rtol=1e-5)
        last = np.take(np.asarray(along[axis]), -1, axis=axis)
        np.testing.assert_allclose(last, 0)


def test_laplacian_equals_its_symbol(x64):
    geometry = Geometry((1.0, 1.5, 2.0))
    image = jnp.asarray(np.random.default_rng(0).standard_normal((8, 9, 10)))
    spectrum = -laplacian_symbol(image.shape, geometry) * jnp.fft.rfftn(image)
    expected = jnp.fft.irfftn(spectrum, s=image.shape)
    np.testing.assert_allclose(laplacian(image, geometry), expected, atol=1e-10)


def test_laplacian_of_a_parabola_is_two_per_axis():
    x, y, z = np.indices((9, 9, 9))
    parabola = jnp.asarray((x * 1.0) ** 2 + (y * 1.5) ** 2 + (z * 2.0) ** 2)
    inner = laplacian(parabola, GEOMETRY)[1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(inner, 6.0, rtol=1e-4)


def test_frequencies_are_cycles_per_mm():
    kx, ky, kz = frequencies((8, 10, 12), GEOMETRY)
    assert (kx.shape, ky.shape, kz.shape) == ((8, 1, 1), (1, 10, 1), (1, 1, 7))
    np.testing.assert_allclose(kx[1, 0, 0], 1 / 8)
    np.testing.assert_allclose(ky[0, 1, 0], 1 / 15)
    np.testing.assert_allclose(kz[0, 0, 6], 0.25)


@hypothesis.given(st.lists(st.integers(1, 300), min_size=3, max_size=3), st.integers(0, 64))
def test_fast_shape_is_large_enough_smooth_and_even_among_eight(shape, margin):
    for n, padded in zip(shape, fast_shape(shape, margin), strict=True):
        assert padded >= n + margin
        assert padded % 8 == 0
        rest = padded
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        assert rest == 1


def test_crop_is_adjoint_to_pad(x64):
    assert_adjoint(lambda a: pad(a, (8, 8, 9)), lambda a: crop(a, (5, 6, 7)), (5, 6, 7))


@pytest.mark.parametrize(
    ("voxel_size", "radius"), [((1.0, 1.25, 1.5), 5.0), ((1.0, 1.0, 3.0), 4.0), ((0.5, 0.5, 2.0), 3.0)]
)
def test_spherical_mean_keeps_harmonic_functions(x64, voxel_size, radius):
    """The mean value theorem, on long voxels as well, to third order."""
    shape = (32, 28, 24)
    x, y, z = ((np.indices(shape)[i] - shape[i] // 2) * voxel_size[i] for i in range(3))
    harmonic = x * y + 0.5 * z + (2 * z**2 - x**2 - y**2) / 4 + (x**3 - 3 * x * z**2) / 10
    mean = spherical_mean(jnp.asarray(harmonic), radius, Geometry(voxel_size), margin=12)
    inner = (slice(8, -8),) * 3
    assert np.abs(np.asarray(mean) - harmonic)[inner].max() < 2e-4 * np.abs(harmonic[inner]).max()


def test_a_ball_too_small_for_its_voxels_stays_a_mean():
    kernel = np.asarray(spherical_kernel((12, 12, 12), 2.0, Geometry((1.0, 1.0, 8.0))))
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert kernel.max() < 0.5


@pytest.mark.parametrize("radius", [0.0, 1.0])
def test_a_ball_within_its_voxel_is_the_voxel(radius):
    def kernel(voxel_size):
        return spherical_kernel((8, 8, 8), radius, Geometry(voxel_size))

    size = jnp.array([4.0, 4.0, 5.0])
    np.testing.assert_array_equal(kernel(size), jnp.zeros((8, 8, 8)).at[0, 0, 0].set(1.0))
    assert np.isfinite(jax.grad(lambda v: jnp.sum(kernel(v) ** 2))(size)).all()


def test_spherical_mean_self_adjoint(x64):
    geometry = Geometry((1.0, 1.5, 2.0))

    def mean(image):
        return spherical_mean(image, 3.0, geometry, margin=8)

    assert_adjoint(mean, mean, (8, 9, 10))


def test_spherical_kernel_gradient_with_respect_to_voxel_size(x64):
    weights = jnp.asarray(np.random.default_rng(0).standard_normal((12, 12, 12)))
    assert_gradient(
        lambda s: jnp.sum(weights * spherical_kernel((12, 12, 12), 3.3, Geometry(s))),
        jnp.array([1.0, 1.1, 1.3]),
        step=1e-6,
        rtol=1e-4,
    )


def test_erosion_agrees_with_distance_transform():
    geometry = Geometry((1.0, 1.0, 2.0))
    mask = ball((40, 40, 24), 10) | ball((40, 40, 24), 3)
    eroded = np.asarray(erode(jnp.asarray(mask), 4.0, geometry))
    distance = ndimage.distance_transform_edt(mask, sampling=(1, 1, 2))
    # The soft-edged ball reaches up to half a voxel beyond its radius.
    assert eroded[distance > 5.5].all()
    assert not eroded[distance < 3.5].any()


def test_peel_takes_bad_voxels_from_the_border_and_leaves_them_within():
    mask = ball((24, 24, 24), 9)
    bad = np.random.default_rng(0).random(mask.shape) < 0.35
    bad[8:12, 8:12, 8:12] = True  # a hole that must stay
    expected = mask & ~ndimage.binary_propagation(~mask, mask=~mask | bad)
    peeled = jax.jit(peel)(jnp.asarray(mask), jnp.asarray(bad))
    np.testing.assert_array_equal(peeled, expected)
    assert 0 < (mask & bad & expected).sum() < (mask & bad).sum()
    whole = jnp.ones((6, 6, 6), bool)
    assert not peel(whole, whole).any()  # beyond the array counts as outside


def test_erosion_treats_the_outside_of_the_array_as_outside():
    eroded = np.asarray(erode(jnp.ones((16, 16, 16), bool), 3.0, Geometry()))
    assert eroded[8, 8, 8]
    assert not eroded[0].any()
    assert not eroded[:, :, -2:].any()


def test_gaussian_mean_has_its_deviation_in_mm_and_is_self_adjoint(x64):
    geometry = Geometry((1.0, 1.5, 0.8))
    shape, standard_deviation = (40, 32, 44), 2.5
    impulse = jnp.zeros(shape).at[20, 16, 22].set(1.0)
    spread = np.asarray(gaussian_mean(impulse, standard_deviation, geometry))
    assert spread.sum() == pytest.approx(1, abs=1e-6)
    for axis, (size, middle) in enumerate(zip(geometry.voxel_size, (20, 16, 22), strict=True)):
        along = spread.sum(axis=tuple(i for i in range(3) if i != axis))
        place = (np.arange(shape[axis]) - middle) * float(size)
        assert np.sqrt((along * place**2).sum()) == pytest.approx(standard_deviation, rel=1e-3)
    smooth = partial(gaussian_mean, standard_deviation=standard_deviation, geometry=geometry)
    assert_adjoint(smooth, smooth, (12, 10, 8))


def test_weighted_mean_asks_those_that_have_weight():
    geometry = Geometry((1.0, 1.0, 2.0))
    weights = jnp.asarray(np.random.default_rng(0).random((16, 16, 12)) < 0.5, jnp.float32)
    weights = weights.at[:8].set(0)
    image = jnp.where(weights > 0, 3.0, jnp.nan)
    found = np.asarray(weighted_mean(image, weights, 3.0, geometry, otherwise=-1.0))
    np.testing.assert_allclose(found[9:], 3.0, rtol=1e-4)
    np.testing.assert_array_equal(found[4], -1.0)


@pytest.mark.parametrize("length", [6, 7])
def test_every_frequency_counts_once(length):
    """The half spectrum is completed to the same values as the whole one has, for even and odd lengths."""
    image = np.random.default_rng(0).standard_normal((4, 5, length)).astype(np.float32)
    found = all_frequencies(jnp.abs(jnp.fft.rfftn(image)), length)
    expected = np.abs(np.fft.fftn(image))
    assert found.shape == expected.shape
    np.testing.assert_allclose(np.sort(found, axis=None), np.sort(expected, axis=None), rtol=1e-4)
