import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_gradient, ball, relative_error

from jaxqsm import Geometry
from jaxqsm.background import (
    harperella,
    iharperella,
    ismv,
    lbv,
    msmv,
    pdf,
    polynomial,
    resharp,
    sdf,
    sharp,
    v_sharp,
)
from jaxqsm.operators import erode, spherical_mean
from jaxqsm.physics import dipole_field

SHAPE = (48, 44, 40)
GEOMETRY = Geometry((1.0, 1.1, 1.3), (0.2, -0.3, 0.93))
METHODS = {f.__name__: f for f in (pdf, v_sharp, resharp, lbv, ismv, sharp, sdf, harperella, iharperella)}


@pytest.fixture(scope="module")
def fields():
    """Small sources inside a ball, strong ones outside it."""
    mask = ball(SHAPE, 15)
    inside, outside = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
    inside[20:24, 20:24, 18:22] = 0.3
    inside[28:31, 24:26, 20:24] = -0.2
    outside[2:6, 20:26, 18:24] = 9.0
    outside[24:28, 38:42, 8:12] = -6.0
    local = dipole_field(jnp.asarray(inside), GEOMETRY, kernel="integrated")
    background = dipole_field(jnp.asarray(outside), GEOMETRY, kernel="integrated")
    return local, background, jnp.asarray(mask)


@pytest.mark.parametrize("name", METHODS)
def test_background_goes_and_local_stays(fields, name):
    local, background, mask = fields
    found, valid = METHODS[name](local + background, mask, GEOMETRY)
    core = np.asarray(erode(mask, 3.0, GEOMETRY) & valid)
    before = float(np.linalg.norm(np.asarray(background)[core]))
    left = float(np.linalg.norm(np.asarray(METHODS[name](background, mask, GEOMETRY)[0])[core]))
    assert left < 0.05 * before
    assert np.corrcoef(np.asarray(found)[core], np.asarray(local)[core])[0, 1] > 0.93
    assert (np.asarray(found)[~np.asarray(valid)] == 0).all()
    assert (np.asarray(valid) <= np.asarray(mask)).all()


def test_pdf_gives_its_border_up_as_asked(fields):
    local, background, mask = fields
    whole, all_of_it = pdf(local + background, mask, GEOMETRY, erosion=0.0)
    part, valid = pdf(local + background, mask, GEOMETRY, erosion=2.0)
    np.testing.assert_array_equal(all_of_it, mask)
    np.testing.assert_array_equal(valid, erode(mask, 2.0, GEOMETRY))
    np.testing.assert_allclose(part, whole * valid, atol=1e-6)
    border = np.asarray(mask & ~valid)
    inner = np.asarray(valid)
    error = np.asarray(whole - local)
    assert np.std(error[border]) > 1.2 * np.std(error[inner])


@pytest.mark.parametrize("name", METHODS)
def test_linear_in_the_field(fields, name):
    local, background, mask = fields
    once, _ = METHODS[name](local + background, mask, GEOMETRY)
    thrice, _ = METHODS[name](3 * (local + background), mask, GEOMETRY)
    # Conjugate gradients that are stopped early magnify what is rounded.
    assert relative_error(thrice, 3 * once) < (2e-2 if "harperella" in name else 1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_a_constant_is_background(fields, name):
    local, background, mask = fields
    plain, valid = METHODS[name](local + background, mask, GEOMETRY)
    shifted, _ = METHODS[name](local + background + 1.0, mask, GEOMETRY)
    core = np.asarray(erode(mask, 2.0, GEOMETRY) & valid)
    assert np.abs(np.asarray(shifted - plain))[core].max() < 0.01


def test_v_sharp_knows_the_voxel_size(fields):
    """The ball is round in mm: with a wrong voxel size harmonic fields are not removed."""
    _, background, mask = fields
    core = np.asarray(erode(mask, 4.0, GEOMETRY))
    right, _ = v_sharp(background, mask, GEOMETRY)
    wrong, _ = v_sharp(background, mask, Geometry((1.0, 1.1, 3.0)))
    assert np.linalg.norm(np.asarray(right)[core]) < 0.5 * np.linalg.norm(np.asarray(wrong)[core])


def test_v_sharp_returns_the_mask_eroded_by_the_smallest_ball(fields):
    _, background, mask = fields
    _, valid = v_sharp(background, mask, GEOMETRY, radii=(6.0, 4.0))
    np.testing.assert_array_equal(valid, erode(mask, 4.0, GEOMETRY))


@pytest.mark.parametrize("name", METHODS)
def test_gradient(name, x64):
    shape = (14, 14, 12)
    mask = jnp.asarray(ball(shape, 5))
    field = jnp.asarray(np.random.default_rng(0).standard_normal(shape))
    options = {
        "v_sharp": {"radii": (3.0, 2.0)},
        "pdf": {"max_iterations": 6},
        "resharp": {"radius": 2.0, "max_iterations": 200},
        "lbv": {"max_iterations": 200},
        "ismv": {"tolerance": 1e-9, "max_iterations": 2000},
        "sharp": {"radius": 2.0},
        "sdf": {"standard_deviations": (2.0, 1.0), "erosion": 1.0},
        "harperella": {"radius": 3.0, "max_iterations": 4},
        "iharperella": {"max_iterations": 3},
    }[name]

    def loss(f):
        return jnp.sum(METHODS[name](f, mask, Geometry(), **options)[0] ** 2)

    assert_gradient(loss, field, rtol=1e-4)


def test_pdf_gradient_with_respect_to_the_field_direction(x64):
    shape = (14, 14, 12)
    mask = jnp.asarray(ball(shape, 5))
    field = jnp.asarray(np.random.default_rng(0).standard_normal(shape))
    assert_gradient(
        lambda b: jnp.sum(pdf(field, mask, Geometry(b0_dir=b), max_iterations=6)[0] ** 2),
        jnp.array([0.2, 0.3, 0.9]),
        rtol=1e-4,
    )


def test_polynomial_takes_smooth_fields_and_leaves_small_sources(fields):
    local, _, mask = fields
    x, y, z = (jnp.linspace(-1, 1, n) for n in SHAPE)
    smooth = (x**2)[:, None, None] * y[:, None] - 2 * (z**3) + 0.7 * (x[:, None, None] * z)
    found, valid = polynomial(local + smooth, mask, GEOMETRY)
    np.testing.assert_array_equal(valid, mask)
    alone, _ = polynomial(local, mask, GEOMETRY)
    assert np.abs(np.asarray(found - alone)).max() < 1e-4
    assert relative_error(alone, local * mask) < 0.4
    # Where the weight is nil, what is there does not matter.
    weights = jnp.ones(SHAPE).at[20:24].set(0.0)
    spoiled = (local + smooth).at[20:24].add(5.0)
    weighted, _ = polynomial(spoiled, mask, GEOMETRY, magnitude=weights)
    rest = np.asarray(mask).copy()
    rest[20:24] = False
    assert np.abs(np.asarray(weighted - alone))[rest].max() < 0.1


def test_polynomial_gradient(x64):
    shape = (8, 7, 6)
    mask = jnp.asarray(ball(shape, 3))
    field = jnp.asarray(np.random.default_rng(0).standard_normal(shape))
    assert_gradient(lambda f: jnp.sum(polynomial(f, mask, Geometry(), order=2)[0] ** 2), field, rtol=1e-5)


def test_msmv_leaves_what_the_ball_does_and_the_whole_mask(fields):
    """It takes the background off, and gives the local field less its own mean over the ball."""
    local, background, mask = fields
    found, valid = msmv(local + background, mask, GEOMETRY)
    np.testing.assert_array_equal(valid, mask)
    filtered = local - spherical_mean(local, 5.0, GEOMETRY)
    core = np.asarray(erode(mask, 5.0, GEOMETRY))
    assert relative_error(found, filtered, core) < 0.15
    # Along the border much is left of a ball that does not fit; the filter takes most of it off.
    border = np.asarray(mask) & ~core
    unfiltered, _ = msmv(local + background, mask, GEOMETRY, max_iterations=0)
    assert np.abs(np.asarray(found)[border]).mean() < 0.6 * np.abs(np.asarray(unfiltered)[border]).mean()
    wrong, _ = msmv(local + background, mask, Geometry((1.0, 1.1, 3.0)))
    assert relative_error(wrong, filtered, core) > relative_error(found, filtered, core) + 0.1
