import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import BRAIN_SHAPE as SHAPE
from helpers import assert_gradient, at_typical_weight, ball, brain_of_blocks, relative_error, smooth_blobs

from jaxqsm import Acquisition, Geometry
from jaxqsm.inversion import cosmos, medi, sti, tikhonov, tv, wh_qsm
from jaxqsm.methods import find_methods
from jaxqsm.metrics import slope
from jaxqsm.phantoms import cylinder
from jaxqsm.physics import dipole_field
from jaxqsm.variational.common import referenced

METHODS = {
    name: at_typical_weight(method)
    for name, method in find_methods("inversion").items()
    if method.path.startswith("jaxqsm.inversion.")
}
"""Those without a network, which have tests of their own."""

BOUNDS = {
    "amp_pe": 0.205, "fansi_tgv": 0.13, "fansi_tv": 0.14, "hd_qsm": 0.125, "heidi": 0.3, "ilsqr": 0.4,
    "l1_qsm": 0.135, "medi": 0.14, "ndi": 0.52, "nltv": 0.135, "rts": 0.33, "star": 0.15, "tgv": 0.125,
    "tikhonov": 0.42, "tkd": 0.37, "tsvd": 0.4, "tv": 0.14, "wh_qsm": 0.24,
}  # fmt: skip
"""Largest relative error on the truth below, a tenth above what each has; the worst, of a new method."""

SHRINKING = {"tkd", "tsvd", "tikhonov", "ndi", "ilsqr", "rts", "heidi"}
"""A quadratic penalty and least squares stopped early make χ smaller; the others' slope is near 1."""


def _options(name):
    return inspect.signature(METHODS[name]).parameters


STARTED = [name for name in METHODS if "start" in _options(name)]
WEIGHTED = [name for name in METHODS if "magnitude" in _options(name)]
QUICK = {"tv", "medi", "l1_qsm", "rts", "ilsqr", "ndi", "tikhonov", "tkd"}
"""Each the first of its kind; the kinds' other members run with the slow tests."""


def _marked(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


GEOMETRY = Geometry((1.0, 1.1, 1.4), (0.3, 0.4, 0.85))


@pytest.fixture(scope="module")
def truth():
    """A brain-like ball of blocks and a smooth part; mean zero in the mask."""
    mask, chi = brain_of_blocks()
    chi = np.where(mask, chi - chi[mask].mean(), 0).astype(np.float32)
    field = dipole_field(jnp.asarray(chi), GEOMETRY, kernel="integrated")
    return jnp.asarray(chi), field, jnp.asarray(mask)


@pytest.fixture(scope="module")
def found(truth):
    """χ of the truth's field by each method, found once."""
    _, field, mask = truth
    return functools.cache(lambda name: METHODS[name](field, mask, GEOMETRY))


@pytest.mark.parametrize("name", METHODS)
def test_recovers_the_truth_oblique_and_anisotropic(truth, found, name):
    chi, _, mask = truth
    found = found(name)
    assert relative_error(found, chi, mask) < BOUNDS.get(name, 0.52)
    slope = float(jnp.vdot(found, chi) / jnp.vdot(chi, chi))
    assert (0.7 if name in SHRINKING else 0.84) < slope < 1.02


@pytest.mark.parametrize("name", _marked(METHODS))
def test_wrong_direction_or_voxel_size_is_worse(truth, found, name):
    chi, field, mask = truth
    right = relative_error(found(name), chi, mask)
    turned = Geometry(GEOMETRY.voxel_size, (0.3, -0.4, 0.85))
    squeezed = Geometry((1.4, 1.1, 1.0), GEOMETRY.b0_dir)
    for wrong in (turned, squeezed):
        assert relative_error(METHODS[name](field, mask, wrong), chi, mask) > right + 0.05


@pytest.mark.parametrize("name", METHODS)
def test_referenced_to_the_mask_and_zero_outside(truth, found, name):
    found, inside = np.asarray(found(name)), np.asarray(truth[2])
    assert abs(found[inside].mean()) < 1e-5
    assert (found[~inside] == 0).all()
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", _marked(METHODS))
def test_what_lies_outside_the_mask_is_ignored(truth, found, name):
    _, field, mask = truth
    rubbish = jnp.where(mask, field, 7.0)
    np.testing.assert_allclose(METHODS[name](rubbish, mask, GEOMETRY), found(name), atol=1e-5)


@pytest.mark.parametrize("name", _marked(STARTED))
def test_a_start_shortens_the_way(truth, name):
    _, field, mask = truth
    options = _options(name)
    # That of ilsqr is of its first least squares.
    count = "start_iterations" if name == "ilsqr" else "max_iterations"
    fixed = {"outer_iterations": 0} if "outer_iterations" in options else {}

    def after(iterations, start=None):
        return METHODS[name](field, mask, GEOMETRY, start=start, **fixed, **{count: iterations})

    solution = after(40)
    assert relative_error(after(2, 0.95 * solution), solution) < relative_error(after(2), solution)


@pytest.mark.slow
def test_a_start_does_not_move_the_goal(truth):
    _, field, mask = truth
    solution = tv(field, mask, GEOMETRY, tolerance=0.0)
    assert relative_error(tv(field, mask, GEOMETRY, start=0.9 * solution, tolerance=0.0), solution) < 0.01


@pytest.mark.parametrize("name", ["tkd", "tsvd", "tikhonov"])
def test_linear_methods_scale(truth, name):
    _, field, mask = truth
    once, thrice = METHODS[name](field, mask, GEOMETRY), METHODS[name](3 * field, mask, GEOMETRY)
    assert relative_error(thrice, 3 * once) < 1e-4


@pytest.mark.parametrize("name", _marked(n for n in WEIGHTED if n not in ("wh_qsm", "l1_qsm", "amp_pe")))
def test_magnitude_takes_the_weight_off_bad_voxels(truth, name):
    chi, field, mask = truth
    rng = np.random.default_rng(0)
    bad = rng.random(SHAPE) < 0.03
    spoiled = field + jnp.asarray(bad * rng.normal(0, 0.3, SHAPE), jnp.float32)
    magnitude = jnp.where(jnp.asarray(bad), 0.01, 1.0)
    even = relative_error(METHODS[name](spoiled, mask, GEOMETRY), chi, mask)
    weighted = relative_error(METHODS[name](spoiled, mask, GEOMETRY, magnitude=magnitude), chi, mask)
    assert weighted < 0.7 * even


def test_sums_of_errors_do_not_believe_gross_ones(truth):
    chi, field, mask = truth
    rng = np.random.default_rng(0)
    bad = rng.random(SHAPE) < 0.03
    spoiled = field + jnp.asarray(bad * rng.normal(0, 0.3, SHAPE), jnp.float32)
    robust, squares = (
        relative_error(METHODS[n](spoiled, mask, GEOMETRY), chi, mask) for n in ("l1_qsm", "tv")
    )
    assert robust < 0.3 * squares


def _harmonic():
    """A field of far sources: no Laplacian."""
    x, y, _ = (
        (np.arange(n) - n / 2) * float(size)
        for n, size in zip(SHAPE, np.asarray(GEOMETRY.voxel_size), strict=True)
    )
    return jnp.asarray(0.1 * (x[:, None, None] ** 2 - y[None, :, None] ** 2) / 200, jnp.float32)


@pytest.mark.slow
def test_weak_harmonics_take_up_what_is_left_of_the_background(truth):
    chi, field, mask = truth
    spoiled = field + _harmonic() * mask
    found, plain = (relative_error(m(spoiled, mask, GEOMETRY), chi, mask) for m in (wh_qsm, tv))
    assert found < 0.5 * plain


def test_medi_spares_edges_of_the_magnitude(truth):
    chi, field, mask = truth
    noise = jnp.asarray(np.random.default_rng(0).normal(0, 0.005, SHAPE), jnp.float32)
    errors = [
        relative_error(medi(field + noise, mask, GEOMETRY, magnitude=m, weight=2e-3, edges=0.1), chi, mask)
        for m in (1 + jnp.round(chi, 2), None)
    ]
    assert errors[0] < 0.9 * errors[1]


def test_medi_options_do_what_they_say(truth):
    chi, field, mask = truth
    solve = METHODS["medi"]
    spoiled = field + _harmonic() * mask
    with_smv, without = (solve(spoiled, mask, GEOMETRY, smv_radius=r) for r in (3.0, 0.0))
    core = mask & (with_smv != 0)
    assert 0.3 * mask.sum() < core.sum() < 0.8 * mask.sum()
    with_smv, without, right = (referenced(image, core) for image in (with_smv, without, chi))
    assert relative_error(with_smv, right) < 0.7 * relative_error(without, right)

    wrong = field.at[20, 20, 16].add(0.15).at[18, 16, 12].add(-0.15)
    once, again = (solve(wrong, mask, GEOMETRY, merit=n) for n in (0, 1))
    assert relative_error(again, chi, mask) < relative_error(once, chi, mask)

    fluid = jnp.asarray(ball(SHAPE, 3)) & mask
    uneven = jnp.where(fluid, 0.05 * jnp.asarray(smooth_blobs(SHAPE, seed=3), jnp.float32), chi)
    found = solve(dipole_field(uneven * mask, GEOMETRY), mask, GEOMETRY, csf_mask=fluid, csf_weight=10.0)
    free = solve(dipole_field(uneven * mask, GEOMETRY), mask, GEOMETRY)
    inside = np.asarray(fluid)
    assert abs(np.asarray(found)[inside].mean()) < 1e-4
    assert np.asarray(found)[inside].std() < 0.3 * np.asarray(free)[inside].std()


def _turned(directions):
    geometries = [Geometry(GEOMETRY.voxel_size, d) for d in directions]
    return geometries, jax.tree.map(lambda *leaves: jnp.stack(leaves), *geometries)


def test_cosmos_needs_no_regularisation(truth):
    chi, _, mask = truth
    geometries, stacked = _turned([(0, 0, 1), (0.8, 0, 0.6), (0, 0.8, 0.6)])
    fields = jnp.stack([dipole_field(chi, g) for g in geometries])
    found = cosmos(fields, mask, stacked)
    assert relative_error(found, chi, mask) < 0.05
    swapped = jax.tree.map(lambda leaf: leaf[::-1], stacked)
    assert relative_error(cosmos(fields, mask, swapped), chi, mask) > 0.3


def test_sti_finds_an_anisotropic_tensor(truth):
    from jaxqsm.inversion.sti import ENTRIES
    from jaxqsm.physics import magnetisation_field

    chi, _, mask = truth
    tensor = np.array([[1.0, 0.2, -0.1], [0.2, 0.8, 0.15], [-0.1, 0.15, 1.2]])
    directions = [(0, 0, 1), (0.8, 0, 0.6), (0, 0.8, 0.6), (-0.8, 0, 0.6), (0, -0.8, 0.6)]
    directions += [(0.6, 0.6, 0.53), (0.6, -0.6, 0.53), (1, 0, 0.1)]
    geometries, stacked = _turned(directions)
    moments = jnp.asarray(tensor, jnp.float32)
    fields = jnp.stack(
        [magnetisation_field((moments @ g.unit_b0_dir)[:, None, None, None] * chi, g) for g in geometries]
    )
    found = sti(fields, mask, stacked, weight=1e-4)
    for entry, (i, j) in zip(found, ENTRIES, strict=True):
        centred = (entry - jnp.sum(entry * mask) / mask.sum()) * mask
        slope = float(jnp.vdot(centred, chi) / jnp.vdot(chi, chi))
        assert slope == pytest.approx(tensor[i, j], abs=0.08)
    with pytest.raises(ValueError, match="six"):
        sti(fields[:3], mask, jax.tree.map(lambda leaf: leaf[:3], stacked))


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

    from jaxqsm.operators import crop, gradient, pad
    from jaxqsm.physics import dipole_convolve, dipole_kernel
    from jaxqsm.variational.common import padded_shape

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
        sizes = sum(jnp.sqrt(g**2 + 1e-10) for g in gradient(image, geometry))
        return 0.5 * jnp.sum(misfit**2) + weight * jnp.sum(sizes)

    pair = jax.jit(jax.value_and_grad(objective))
    size = int(np.prod(padded))
    best = minimize(lambda v: tuple(map(np.asarray, pair(v))), np.zeros(size), jac=True, method="L-BFGS-B",
                    options={"maxiter": 4000, "maxfun": 8000, "ftol": 1e-14, "gtol": 1e-9})  # fmt: skip
    theirs = crop(jnp.asarray(best.x.reshape(padded)), shape)
    theirs = (theirs - jnp.vdot(mask, theirs) / mask.sum()) * mask
    ours = tv(field, mask, geometry, weight=weight, tolerance=1e-8, max_iterations=5000)
    assert relative_error(ours, theirs, mask) < 0.02


# Derivatives of amp_pe are those at the parameters it has found.
@pytest.mark.parametrize(
    "name",
    [
        name if name in ("tv", "tkd", "tikhonov", "ndi") else pytest.param(name, marks=pytest.mark.slow)
        for name in METHODS
        if name != "amp_pe"
    ],
)
def test_gradients_with_respect_to_field_and_direction(name, x64):
    shape = (10, 10, 8)
    mask = jnp.asarray(ball(shape, 4))
    field = jnp.asarray(0.2 * smooth_blobs(shape))
    weights = jnp.asarray(np.random.default_rng(0).standard_normal(shape))
    # Converged where there is a tolerance, else few iterations; heavier weights converge sooner.
    wanted = {
        "acquisition": Acquisition((0.0025,), 3.0),
        "start_iterations": 5,
        "outer_iterations": 1,
        "huber_threshold": 0.1,
    }
    if "tolerance" in _options(name):
        wanted |= {"tolerance": 1e-9, "max_iterations": 6000, "weight": 2e-3, "strong_weight": 1e-2}
    elif "max_iterations" in _options(name):
        wanted |= {"max_iterations": 9}
    # The harmonic field of wh_qsm comes slowly; of so few iterations the derivative is that of what was done.
    of_its_own = {"l1_qsm": {"weight": 0.05}, "wh_qsm": {"weight": 3e-3, "max_iterations": 300}}
    wanted |= of_its_own.get(name, {})
    options = {option: value for option, value in wanted.items() if option in _options(name)}

    def loss(f, direction):
        geometry = Geometry((1.0, 1.2, 1.4), direction)
        return jnp.sum(weights * METHODS[name](f, mask, geometry, **options))

    direction = jnp.array([0.3, 0.1, 0.9])
    rtol = 2e-3 if "tolerance" in options else 1e-4
    # Penalties on sizes have kinks: small steps cross few.
    assert_gradient(lambda f: loss(f, direction), field, step=1e-6, rtol=rtol)
    # Direction changes which k-space samples lie below TKD's threshold: small steps only.
    assert_gradient(lambda d: loss(field, d), direction, step=1e-6, rtol=10 * rtol)


@pytest.mark.parametrize(
    "name", [n if n == "tv" else pytest.param(n, marks=pytest.mark.slow) for n in METHODS]
)
def test_vmap_over_subjects(truth, name):
    """Each as it would be alone, though one may take more iterations than the other."""
    chi, field, mask = truth
    other = dipole_field(jnp.roll(chi, 3, axis=0), GEOMETRY, kernel="integrated") * 1.7
    both = jax.vmap(lambda f: METHODS[name](f, mask, GEOMETRY))(jnp.stack([field, other]))
    for found, alone in zip(both, (field, other), strict=True):
        assert relative_error(found, METHODS[name](alone, mask, GEOMETRY), mask) < 1e-3


def test_unknown_penalty_is_refused(truth):
    _, field, mask = truth
    with pytest.raises(ValueError, match="penalty"):
        tikhonov(field, mask, GEOMETRY, penalty="wrong")


@pytest.mark.parametrize(
    ("penalty", "weight", "bound"),
    [("identity", 0.01, 0.4), ("gradient", 0.02, 0.4), ("laplacian", 0.02, 0.49)],
)
def test_every_penalty_recovers_and_smooths_the_more_the_heavier(truth, penalty, weight, bound):
    chi, field, mask = truth
    found = tikhonov(field, mask, GEOMETRY, penalty=penalty, weight=weight)
    assert relative_error(found, chi, mask) < bound
    heavier = tikhonov(field, mask, GEOMETRY, penalty=penalty, weight=100 * weight)
    assert float(jnp.std(heavier)) < 0.7 * float(jnp.std(found))


TURNS = [
    (lambda a: a[::-1], (-1, 1, 1), (0, 1, 2)),
    (lambda a: a[:, ::-1, ::-1], (1, -1, -1), (0, 1, 2)),
    (lambda a: a.transpose(2, 0, 1), (1, 1, 1), (2, 0, 1)),
]


# Wavelets of amp_pe come in blocks, which begin at one end: files are read in one order instead.
@pytest.mark.parametrize("name", _marked(n for n in METHODS if n != "amp_pe"))
def test_storage_order_does_not_matter(name, x64):
    """Axes reversed or exchanged, field direction and voxel size with them: the same χ, stored so.

    In double precision, as twenty conjugate-gradient steps of an ill-posed problem turn roundings of float32
    into parts in a thousand.
    """
    shape, geometry = (20, 18, 16), Geometry((1.0, 1.1, 1.3), (0.3, 0.2, 0.9))
    mask = ball(shape, 7)
    rng = np.random.default_rng(0)
    chi = 0.1 * smooth_blobs(shape)
    chi[8:12, 7:10, 6:9] += 0.2
    field = np.asarray(dipole_field(jnp.asarray(chi), geometry)) + 0.004 * rng.standard_normal(shape)
    magnitude = 1 + (chi > 0.1) + 0.05 * rng.standard_normal(shape)
    method = METHODS[name]

    def solve(turn, signs, order):
        turned = Geometry(
            np.asarray(geometry.voxel_size)[list(order)],
            (np.asarray(geometry.b0_dir) * signs)[list(order)],
        )
        f, m, g = (jnp.asarray(np.ascontiguousarray(turn(a))) for a in (field, mask, magnitude))
        extra = {"magnitude": g} if "magnitude" in inspect.signature(method).parameters else {}
        return np.asarray(method(f, m, turned, **extra))

    plain = solve(lambda a: a, (1, 1, 1), (0, 1, 2))
    for turn, signs, order in TURNS:
        np.testing.assert_allclose(
            solve(turn, signs, order), turn(plain), atol=1e-6 * float(np.abs(plain).max())
        )


@pytest.mark.parametrize("name", ["tkd", "tsvd"])
def test_scale_correction_undoes_the_underestimation_of_an_even_spectrum(name):
    chi = jnp.asarray(np.random.default_rng(0).standard_normal((40, 36, 32)), jnp.float32)
    mask, geometry = jnp.ones(chi.shape, bool), Geometry(b0_dir=(0.0, 0.6, 0.8))
    field = dipole_field(chi, geometry)
    method = METHODS[name]
    plain, corrected = (
        float(slope(method(field, mask, geometry, threshold=0.25, scale_correction=on), chi, mask))
        for on in (False, True)
    )
    assert plain < 0.9
    assert corrected == pytest.approx(1, abs=0.08)  # sources at the border lose field


@pytest.mark.parametrize("name", _marked(WEIGHTED))
def test_gradients_are_finite_where_there_is_no_signal(truth, name):
    """Outside the mask and in voxels without signal weights are zero, and a root has no slope there."""
    _, field, mask = truth
    lost = jnp.asarray(np.random.default_rng(0).random(SHAPE) < 0.01)
    magnitude = jnp.where(lost, 0.0, 1.0) * mask

    def size(field, magnitude):
        return jnp.sum(METHODS[name](field, mask, GEOMETRY, magnitude=magnitude) ** 2)

    for slopes in jax.grad(size, (0, 1))(field, magnitude):
        assert np.isfinite(slopes).all()
