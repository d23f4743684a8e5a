import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_gradient, ball, relative_error, smooth_blobs

from jaxqsm import Geometry
from jaxqsm.inversion import ndi, tikhonov, tkd, tsvd, tv
from jaxqsm.phantoms import cylinder
from jaxqsm.physics import dipole_field

METHODS = {"tkd": tkd, "tsvd": tsvd, "tikhonov": tikhonov, "tv": tv, "ndi": ndi}
SHAPE = (40, 36, 32)
GEOMETRY = Geometry((1.0, 1.1, 1.4), (0.3, 0.4, 0.85))


@pytest.fixture(scope="module")
def truth():
    """A brain-like ball of blocks and a smooth part; mean zero in the mask."""
    mask = ball(SHAPE, 13)
    chi = 0.05 * smooth_blobs(SHAPE)
    chi[14:20, 14:20, 12:18] += 0.15
    chi[22:26, 16:22, 14:20] -= 0.1
    chi = np.where(mask, chi, 0)
    chi = np.where(mask, chi - chi[mask].mean(), 0).astype(np.float32)
    field = dipole_field(jnp.asarray(chi), GEOMETRY, kernel="integrated")
    return jnp.asarray(chi), field, jnp.asarray(mask)


@pytest.mark.parametrize(
    ("name", "tolerance"), [("tkd", 0.5), ("tsvd", 0.5), ("tikhonov", 0.5), ("ndi", 0.55), ("tv", 0.2)]
)
def test_recovers_the_truth_oblique_and_anisotropic(truth, name, tolerance):
    chi, field, mask = truth
    found = METHODS[name](field, mask, GEOMETRY)
    assert relative_error(found, chi, mask) < tolerance
    slope = float(jnp.vdot(found, chi) / jnp.vdot(chi, chi))
    # A quadratic penalty and early stopping shrink; the others are near 1.
    assert (0.7 if name in ("tikhonov", "ndi") else 0.85) < slope < 1.15


@pytest.mark.parametrize("name", METHODS)
def test_wrong_direction_or_voxel_size_is_worse(truth, name):
    chi, field, mask = truth
    right = relative_error(METHODS[name](field, mask, GEOMETRY), chi, mask)
    turned = Geometry(GEOMETRY.voxel_size, (0.3, -0.4, 0.85))
    squeezed = Geometry((1.4, 1.1, 1.0), GEOMETRY.b0_dir)
    for wrong in (turned, squeezed):
        assert relative_error(METHODS[name](field, mask, wrong), chi, mask) > right + 0.05


@pytest.mark.parametrize("name", METHODS)
def test_referenced_to_the_mask_and_zero_outside(truth, name):
    _, field, mask = truth
    found = np.asarray(METHODS[name](field, mask, GEOMETRY))
    inside = np.asarray(mask)
    assert abs(found[inside].mean()) < 1e-5
    assert (found[~inside] == 0).all()
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", METHODS)
def test_what_lies_outside_the_mask_is_ignored(truth, name):
    _, field, mask = truth
    rubbish = jnp.where(mask, field, 7.0)
    np.testing.assert_allclose(
        METHODS[name](rubbish, mask, GEOMETRY), METHODS[name](field, mask, GEOMETRY), atol=1e-5
    )


@pytest.mark.parametrize("name", ["tkd", "tsvd", "tikhonov"])
def test_linear_methods_scale(truth, name):
    _, field, mask = truth
    once, thrice = METHODS[name](field, mask, GEOMETRY), METHODS[name](3 * field, mask, GEOMETRY)
    assert relative_error(thrice, 3 * once) < 1e-4


@pytest.mark.parametrize("name", ["tv", "ndi"])
def test_magnitude_takes_the_weight_off_bad_voxels(truth, name):
    chi, field, mask = truth
    rng = np.random.default_rng(0)
    bad = rng.random(SHAPE) < 0.03
    spoiled = field + jnp.asarray(bad * rng.normal(0, 0.3, SHAPE), jnp.float32)
    magnitude = jnp.where(jnp.asarray(bad), 0.01, 1.0)
    even = relative_error(METHODS[name](spoiled, mask, GEOMETRY), chi, mask)
    weighted = relative_error(METHODS[name](spoiled, mask, GEOMETRY, magnitude=magnitude), chi, mask)
    assert weighted < 0.7 * even


def test_sign_and_value_of_a_vessel_at_an_angle():
    """Veins are paramagnetic: positive, and of the right strength, whatever their direction."""
    shape, geometry = (48, 48, 48), Geometry((1.0, 1.0, 1.0), (0.5, 0.0, 0.87))
    options = {"axis": (0.2, 1.0, 0.3), "radius": 3.0}
    mask = jnp.asarray(ball(shape, 20))
    chi = cylinder(shape, geometry, chi=0.3, **options) * mask
    found = tv(dipole_field(chi, geometry), mask, geometry)
    core = np.asarray((cylinder(shape, geometry, axis=(0.2, 1.0, 0.3), radius=2.0) == 1) & mask)
    far = np.asarray(mask & (cylinder(shape, geometry, axis=(0.2, 1.0, 0.3), radius=6.0) == 0))
    contrast = np.asarray(found)[core].mean() - np.asarray(found)[far].mean()
    assert contrast == pytest.approx(0.3, rel=0.1)


def test_tv_reaches_the_minimum_of_its_functional(x64):
    """Same problem by L-BFGS on a smoothed total variation: the same minimiser."""
    from scipy.optimize import minimize

    from jaxqsm.inversion.common import padded_shape
    from jaxqsm.operators import crop, gradient, pad
    from jaxqsm.physics import dipole_convolve, dipole_kernel

    shape, geometry, weight = (10, 10, 10), Geometry((1.0, 1.2, 1.4), (0.3, 0.1, 0.9)), 2e-3
    mask = jnp.asarray(ball(shape, 4))
    chi = jnp.asarray(0.3 * smooth_blobs(shape) * mask)
    field = dipole_field(chi, geometry)
    padded = padded_shape(shape)
    kernel = dipole_kernel(padded, geometry)

    @jax.jit
    def objective(flat):
        image = flat.reshape(padded)
        misfit = pad(mask, padded) * (dipole_convolve(image, kernel, padded) - pad(field, padded))
        length = jnp.sqrt(sum(g**2 for g in gradient(image, geometry)) + 1e-10)
        return 0.5 * jnp.sum(misfit**2) + weight * jnp.sum(length)

    pair = jax.jit(jax.value_and_grad(objective))
    size = int(np.prod(padded))
    best = minimize(lambda v: tuple(map(np.asarray, pair(v))), np.zeros(size), jac=True, method="L-BFGS-B",
                    options={"maxiter": 4000, "maxfun": 8000, "ftol": 1e-14, "gtol": 1e-9})  # fmt: skip
    theirs = crop(jnp.asarray(best.x.reshape(padded)), shape)
    theirs = (theirs - jnp.vdot(mask, theirs) / mask.sum()) * mask
    ours = tv(field, mask, geometry, weight=weight, tolerance=1e-8, max_iterations=5000)
    assert relative_error(ours, theirs, mask) < 0.02


@pytest.mark.parametrize("name", METHODS)
def test_gradients_with_respect_to_field_and_direction(name, x64):
    shape = (10, 10, 8)
    mask = jnp.asarray(ball(shape, 4))
    field = jnp.asarray(0.2 * smooth_blobs(shape))
    weights = jnp.asarray(np.random.default_rng(0).standard_normal(shape))
    options = {
        "tv": {"tolerance": 1e-11, "max_iterations": 20000, "weight": 2e-3},
        "ndi": {"iterations": 9},
    }

    def loss(f, direction):
        geometry = Geometry((1.0, 1.2, 1.4), direction)
        return jnp.sum(weights * METHODS[name](f, mask, geometry, **options.get(name, {})))

    direction = jnp.array([0.3, 0.1, 0.9])
    rtol = 2e-3 if name == "tv" else 1e-4
    assert_gradient(lambda f: loss(f, direction), field, rtol=rtol)
    # Direction changes which k-space samples lie below TKD's threshold: small steps only.
    assert_gradient(lambda d: loss(field, d), direction, step=1e-6, rtol=10 * rtol)


def test_fast_sine_is_the_sine():
    from jaxqsm.inversion.fidelity import sine

    angle = jnp.linspace(-40, 40, 100_001, dtype=jnp.float32)
    np.testing.assert_allclose(sine(angle), np.sin(np.asarray(angle, float)), atol=4e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(sine))(angle), np.cos(np.asarray(angle, float)), atol=4e-6)


def test_vmap_over_subjects(truth):
    _, field, mask = truth
    both = jax.vmap(lambda f: tv(f, mask, GEOMETRY, max_iterations=5))(jnp.stack([field, 2 * field]))
    np.testing.assert_allclose(both[0], tv(field, mask, GEOMETRY, max_iterations=5), atol=1e-5)


def test_unknown_penalty_is_refused(truth):
    _, field, mask = truth
    with pytest.raises(ValueError, match="penalty"):
        tikhonov(field, mask, GEOMETRY, penalty="wrong")


@pytest.mark.parametrize(("penalty", "weight"), [("identity", 0.01), ("gradient", 0.02), ("laplacian", 0.02)])
def test_every_penalty_recovers_and_smooths_the_more_the_heavier(truth, penalty, weight):
    chi, field, mask = truth
    found = tikhonov(field, mask, GEOMETRY, penalty=penalty, weight=weight)
    assert relative_error(found, chi, mask) < 0.5
    heavier = tikhonov(field, mask, GEOMETRY, penalty=penalty, weight=100 * weight)
    assert float(jnp.std(heavier)) < 0.7 * float(jnp.std(found))
