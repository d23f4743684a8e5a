"""Deviations are what errors turn out to be: by explicit covariances, by repeated noise, by coverage."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ball, jaxqsm, relative_error, smooth_blobs

from jaxqsm import Geometry
from jaxqsm.inversion import tikhonov, tkd, tv
from jaxqsm.io import load, save
from jaxqsm.methods import find_method
from jaxqsm.operators import gradient, pad
from jaxqsm.phantoms import head, random_head
from jaxqsm.physics import dipole_convolve, dipole_field
from jaxqsm.pipeline import Config, standard_deviation_of
from jaxqsm.pretrained import learned_standard_deviation
from jaxqsm.uncertainty import (
    bootstrap,
    cone_energy,
    conformal_factor,
    coverage,
    deep_ensemble,
    gibbs,
    laplace,
    noise_propagation,
)
from jaxqsm.uncertainty.gibbs import draw_next, draw_rate, inverse_gaussian
from jaxqsm.variational.common import referenced
from jaxqsm.variational.problem import inversion_problem

GEOMETRY = Geometry((1.0, 1.2, 1.5), (0.3, 0.1, 0.9))


@pytest.fixture(scope="module")
def crop():
    """The middle of a head at 2 mm, oblique, with noise."""
    phantom = head((2.0, 2.0, 2.0))
    middle = tuple(slice(n // 2 - 20, n // 2 + 20) for n in phantom.mask.shape)
    mask = jnp.asarray(np.asarray(phantom.mask)[middle])
    chi = referenced(jnp.asarray(np.asarray(phantom.chi)[middle]) * mask, mask)
    geometry = Geometry((2.0, 2.0, 2.0), (0.5, 0.0, 0.85))
    field = dipole_field(chi, geometry) + 0.002 * jax.random.normal(jax.random.key(1), mask.shape)
    return chi, field * mask, mask, geometry


@pytest.mark.parametrize("method", [tkd, tikhonov])
def test_noise_propagation_is_the_diagonal_of_the_covariance(method, x64):
    shape = (6, 5, 4)
    mask = jnp.asarray(ball(shape, 2))
    noise = jnp.asarray(np.random.default_rng(0).uniform(0.5, 2.0, shape)) * mask
    field = jnp.zeros(shape)
    jacobian = jax.jacfwd(lambda f: method(f, mask, GEOMETRY))(field).reshape(mask.size, mask.size)
    exact = jnp.sqrt(jnp.sum((jacobian * noise.ravel()) ** 2, axis=1)).reshape(shape)
    found = noise_propagation(method, field, mask, GEOMETRY, noise, probes=4000, key=jax.random.key(0))
    np.testing.assert_allclose(found, exact, rtol=0.1, atol=1e-12)


@pytest.mark.slow
def test_bootstrap_of_a_linear_method_is_the_propagated_noise():
    """More than first order, it must agree where there is no more; a magnitude reaches the method."""
    shape = (12, 10, 8)
    mask = jnp.asarray(ball(shape, 4))
    noise = jnp.asarray(np.random.default_rng(0).uniform(0.5, 2.0, shape), jnp.float32) * mask
    given, key = (jnp.zeros(shape), mask, GEOMETRY, noise), jax.random.key(0)
    found = bootstrap(tkd, *given, key=key, repeats=200, threshold=0.15)
    expected = noise_propagation(tkd, *given, key=key, probes=200, threshold=0.15)
    assert relative_error(found.standard_deviation, expected) < 0.1
    assert found.members.shape == (200, *shape)
    seen = []

    def spy(field, mask, geometry, *, magnitude, key):
        seen.append((float(magnitude.sum()), key))
        return field

    bootstrap(spy, *given, key=key, repeats=2, magnitude=2 * noise)
    assert [s for s, _ in seen] == [float(2 * noise.sum())] * 2
    assert seen[0][1] != seen[1][1]


@pytest.mark.slow
def test_noise_propagation_through_a_solver_is_what_repeated_scans_show(crop):
    chi, _, mask, geometry = crop
    noise = 0.002 * mask
    clean = dipole_field(chi, geometry) * mask
    found = noise_propagation(tv, clean, mask, geometry, noise, probes=24, weight=1e-3, key=jax.random.key(0))
    scans = [clean + noise * jax.random.normal(jax.random.key(n), mask.shape) for n in range(24)]
    repeated = jnp.std(jnp.stack([tv(s, mask, geometry, weight=1e-3) for s in scans]), axis=0)
    assert float(jnp.mean(found[mask])) == pytest.approx(float(jnp.mean(repeated[mask])), rel=0.2)
    assert float(jnp.abs(jnp.where(mask, 0, found)).max()) == 0


@pytest.mark.slow
def test_laplace_finds_the_noise_and_doubts_what_the_field_does_not_tell(crop):
    chi, field, mask, geometry = crop
    estimate = tv(field, mask, geometry)
    posterior = laplace(estimate, field, mask, geometry, samples=6, key=jax.random.key(0))
    assert float(posterior.noise) == pytest.approx(0.002, rel=0.3)
    typical = float(jnp.sqrt(jnp.mean(posterior.standard_deviation[mask] ** 2)))
    assert typical == pytest.approx(float(jnp.std((estimate - chi)[mask])), rel=0.5)
    # What remains open lies along the magic-angle cone, far more than its share of k-space.
    share = np.mean([float(cone_energy(s, mask, geometry)) for s in posterior.samples])
    white = float(cone_energy(jax.random.normal(jax.random.key(2), mask.shape), mask, geometry))
    assert share > 1.5 * white
    # Twice the noise, more doubt.
    noisier = field + 0.004 * mask * jax.random.normal(jax.random.key(3), mask.shape)
    again = laplace(tv(noisier, mask, geometry), noisier, mask, geometry, samples=6, key=jax.random.key(0))
    assert float(jnp.mean(again.standard_deviation[mask])) > 1.2 * float(
        jnp.mean(posterior.standard_deviation[mask])
    )


def test_inverse_gaussian_has_its_mean_and_variance():
    for mean, shape in ((1.0, 3.0), (50.0, 4.0), (0.01, 5.0)):
        drawn = inverse_gaussian(jax.random.key(0), jnp.full(200_000, mean), jnp.asarray(shape))
        assert float(drawn.min()) > 0
        assert float(drawn.mean()) == pytest.approx(mean, rel=0.05)
        # The mean of the inverse is known as well, and does not hang on a few large draws.
        assert float((1 / drawn).mean()) == pytest.approx(1 / mean + 1 / shape, rel=0.02)


@pytest.mark.slow
def test_gibbs_draws_from_the_posterior_itself(x64):
    """As integration by parts demands: the mean of χ · (slope of −log density) is the number of unknowns."""
    shape = (8, 7, 6)
    mask = jnp.asarray(ball(shape, 3))
    chi = jnp.asarray(0.1 * smooth_blobs(shape)) * mask
    noise, weight = 0.004, 3e-4
    field = dipole_field(chi, GEOMETRY) + noise * jax.random.normal(jax.random.key(1), shape)
    given = inversion_problem(field * mask, mask, GEOMETRY, None)
    options = {"weight": weight, "noise": noise, "max_iterations": 60}
    chain = [pad(tv(field, mask, GEOMETRY, weight=weight), given.shape)]
    step = jax.jit(lambda c, k: draw_next(c, k, given, noise, weight / noise**2, 60))

    def slope(chi):
        def energy(chi):
            predicted = dipole_convolve(chi, given.kernel, given.shape)
            steepness = jnp.sqrt(sum(g**2 for g in gradient(chi, GEOMETRY)) + 1e-24)
            data = 0.5 * jnp.sum(given.weights * (predicted - given.known_field) ** 2)
            return (data + weight * jnp.sum(steepness)) / noise**2

        return float(jnp.vdot(chi - chi.mean(), jax.grad(energy)(chi)))

    for number in range(330):
        chain.append(step(chain[-1], jax.random.fold_in(jax.random.key(2), number)))
    unknowns = np.prod(given.shape) - 1
    assert np.mean([slope(c) for c in chain[30:]]) == pytest.approx(unknowns, rel=0.02)
    found = gibbs(field, mask, GEOMETRY, **options, samples=60, burn_in=20, key=jax.random.key(3))
    own = jnp.stack([given.to_scan_grid(c) for c in chain[30:]])
    assert float(jnp.mean(found.standard_deviation[mask])) == pytest.approx(
        float(own.std(0)[mask].mean()), rel=0.1
    )
    apart = jnp.sqrt(jnp.mean((found.mean - own.mean(0))[mask] ** 2))
    assert float(apart) < 0.4 * float(jnp.mean(found.standard_deviation[mask]))


@pytest.mark.slow
def test_gibbs_covers_as_much_as_it_says(crop):
    chi, field, mask, geometry = crop
    found = gibbs(field, mask, geometry, samples=40, burn_in=30, key=jax.random.key(0))
    assert 0.75 < float(coverage(found.mean - chi, found.standard_deviation, mask)) < 0.95
    assert relative_error(found.mean, chi, mask) < 0.3


def test_the_rate_of_a_prior_is_found_from_its_samples():
    """Of independent gradients along one axis, whose sizes are exponential: one over their mean."""
    rate = 40.0
    steps = jax.random.laplace(jax.random.key(0), (4000, 1, 1)) / rate
    chi = jnp.cumsum(steps - steps.mean(), axis=0)
    found = draw_rate(jax.random.key(1), chi, Geometry((1.0, 1.0, 1.0)))
    assert float(found) == pytest.approx(rate, rel=0.05)


@pytest.mark.parametrize("weight", [pytest.param(1e-4, marks=pytest.mark.slow), 3e-4])
def test_learned_deviation_covers_as_much_as_it_says(crop, weight):
    chi, field, mask, geometry = crop
    estimate = tv(field, mask, geometry, weight=weight)
    standard_deviation = learned_standard_deviation(estimate, field, mask, geometry)
    assert 0.82 < float(coverage(estimate - chi, standard_deviation, mask)) < 0.97
    assert float(jnp.abs(jnp.where(mask, 0, standard_deviation)).max()) == 0


@pytest.mark.slow
def test_learned_deviation_is_larger_where_the_signal_is_weak(crop):
    chi, _, mask, geometry = crop
    noise = jax.random.normal(jax.random.key(1), mask.shape)
    half = mask.at[:20].set(False)
    standard_deviations = []
    for brightness in (1.0, 0.35):
        magnitude = jnp.where(jnp.arange(40)[:, None, None] < 20, 1.0, brightness) * mask
        field = (dipole_field(chi, geometry) + 0.002 * noise / jnp.maximum(magnitude, 0.1)) * mask
        estimate = tv(field, mask, geometry, magnitude=magnitude)
        standard_deviation = learned_standard_deviation(estimate, field, mask, geometry, magnitude=magnitude)
        assert 0.78 < float(coverage(estimate - chi, standard_deviation, half)) < 0.98
        standard_deviations.append(float(jnp.mean(standard_deviation[half])))
    assert standard_deviations[1] > 1.05 * standard_deviations[0]


def test_learned_deviation_scales_with_chi(crop):
    _, field, mask, geometry = crop
    estimate = tv(field, mask, geometry)
    once = learned_standard_deviation(estimate, field, mask, geometry)
    twice = learned_standard_deviation(2 * estimate, 2 * field, mask, geometry)
    assert relative_error(twice, 2 * once, mask) < 1e-3


@pytest.mark.slow
def test_a_deep_ensemble_is_of_networks_that_differ_and_doubts_what_none_of_them_has(crop):
    chi, field, mask, geometry = crop
    estimate, standard_deviation, members = deep_ensemble(field, mask, geometry)
    errors = [relative_error(member, chi, mask) for member in members]
    differences = [relative_error(a, b, mask) for a, b in itertools.pairwise(members)]
    assert max(errors) < 0.4
    assert min(differences) > 0.02

    assert relative_error(estimate, chi, mask) < min(errors)
    assert float(jnp.abs(jnp.where(mask, 0, standard_deviation)).max()) == 0
    assert 0.8 < float(coverage(estimate - chi, standard_deviation, mask)) < 0.98
    # What the map has and the networks have not is doubted where it is.
    spot = mask & (jnp.indices(mask.shape)[0] < 16) & (jnp.indices(mask.shape)[1] < 16)
    doubted = deep_ensemble(field, mask, geometry, estimate + 0.2 * spot).standard_deviation
    assert float(jnp.mean(doubted[spot])) > 3 * float(jnp.mean(standard_deviation[spot]))
    # Twice the field has twice the deviation.
    twice = deep_ensemble(2 * field, mask, geometry).standard_deviation
    assert relative_error(twice, 2 * standard_deviation, mask) < 1e-3


def test_coverage_and_cone_energy_on_what_is_known():
    mask = jnp.ones((40, 40, 40), bool)
    error = jax.random.normal(jax.random.key(0), mask.shape)
    for level in (0.5, 0.9):
        assert float(coverage(error, jnp.ones(mask.shape), mask, level=level)) == pytest.approx(
            level, abs=0.01
        )
    # A wave at the magic angle has all its energy near the cone, one along the field none.
    x, z = (jnp.arange(40)[:, None, None], jnp.arange(40)[None, None, :])
    geometry = Geometry()
    at_angle = jnp.cos(2 * jnp.pi * (8.5 * x + 6 * z) / 40) * jnp.ones((1, 40, 1))
    along = jnp.cos(2 * jnp.pi * 6 * z / 40) * jnp.ones((40, 40, 1))
    assert float(cone_energy(at_angle, mask, geometry)) > 0.8
    assert float(cone_energy(along, mask, geometry)) < 0.05


def test_conformal_factor_is_the_quantile_of_what_was_missed():
    """Deviations three times too small, in scans of two shapes, with voxels outside that must not count."""
    shapes = (30, 30, 30), (20, 40, 10)
    masks = [jnp.asarray(np.indices(s)[0] > 5) for s in shapes]
    standard_deviations = [
        0.01 + 0.02 * jax.random.uniform(jax.random.key(k), s) for k, s in enumerate(shapes)
    ]
    errors = [
        jnp.where(m, 3 * d * jax.random.normal(jax.random.key(9 + k), m.shape), 1e3)
        for k, (m, d) in enumerate(zip(masks, standard_deviations, strict=True))
    ]
    for level in (0.5, 0.9):
        factor = conformal_factor(errors, standard_deviations, masks, level=level)
        assert float(factor) == pytest.approx(3, rel=0.05)
    # By its definition, whatever the distribution.
    skew = [e**3 for e in errors]
    factor = conformal_factor(skew, standard_deviations, masks)
    held = [
        float(coverage(e, factor * d, m) * m.sum())
        for e, d, m in zip(skew, standard_deviations, masks, strict=True)
    ]
    assert sum(held) / sum(int(m.sum()) for m in masks) == pytest.approx(0.9, abs=1e-3)
    # Where a deviation is zero and the error is not, the factor is large but a number.
    assert np.isfinite(float(conformal_factor(errors[:1], [0 * standard_deviations[0]], masks[:1])))
    with pytest.raises(ValueError, match="one of each a scan"):
        conformal_factor(errors, standard_deviations[:1], masks)


@pytest.fixture(scope="module")
def people():
    """The middles of two random heads of one kind of scan, with the map of total variation."""
    return [
        _judged(random_head((2.0, 2.0, 2.0), age=age, key=jax.random.key(k)))
        for k, age in ((1, 30.0), (3, 75.0))
    ]


def _judged(phantom):
    middle = tuple(slice(n // 2 - 20, n // 2 + 20) for n in phantom.mask.shape)
    mask = jnp.asarray(phantom.mask[middle])
    chi = referenced(jnp.asarray(phantom.chi)[middle] * mask, mask)
    geometry = Geometry((2.0, 2.0, 2.0), (0.5, 0.0, 0.85))
    field = dipole_field(chi, geometry) + 0.002 * jax.random.normal(jax.random.key(2), mask.shape)
    found = tv(field * mask, mask, geometry)
    return found - chi, (found, field * mask, mask, geometry)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("learned_standard_deviation", 1.2),
        ("deep_ensemble", 1.05),  # of four members a voxel's deviation is known to 40 %
        ("laplace", 1.1),  # what a chosen weight leaves is bias more than noise, which these two follow
        ("noise_propagation", 1.05),
        ("bootstrap", 1.05),  # eight members and samples know a voxel's deviation to 27 %
        ("diffusion", 1.05),
    ],
)
def test_calibrated_on_one_person_intervals_hold_in_another(people, name, told):
    """Nominal 90 % intervals hold 85 to 95 %, for methods that differ in what they count."""
    method, invert = find_method("uncertainty", name), find_method("inversion", "tv")
    (known, of_known), (error, of_other) = people
    first, standard_deviation = (
        standard_deviation_of(method, *given, invert, magnitude=None, weights=None, options={})
        for given in (of_known, of_other)
    )
    factor = conformal_factor([known], [first], [of_known[2]])
    mask = of_other[2]
    assert 0.85 < float(coverage(error, factor * standard_deviation, mask)) < 0.95
    # A deviation tells where as well: errors go with it.
    big = standard_deviation > jnp.median(standard_deviation[mask])
    spread = [float(jnp.std(error[mask & part])) for part in (big, ~big)]
    assert spread[0] > told * spread[1]


def _files(folder, shape, radius):
    """A field and its mask, as files; returns the mask."""
    mask = ball(shape, radius)
    chi = jnp.asarray(0.1 * smooth_blobs(shape) * mask)
    for name, volume in (("field", dipole_field(chi, Geometry()) * mask), ("mask", mask)):
        save(folder / f"{name}.nii.gz", np.asarray(volume), np.eye(4))
    return mask


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["deep_ensemble", "laplace", "noise_propagation", "bootstrap", "gibbs", "diffusion"]
)
def test_command_writes_the_deviation_of_every_method(tmp_path, name):
    mask = _files(tmp_path, (16, 14, 12), 5)
    done = jaxqsm(
        "invert", tmp_path / "field.nii.gz", "--mask", tmp_path / "mask.nii.gz", "--method", "tkd",
        "--out", tmp_path / "chi.nii", "--out-std", tmp_path / "std.nii", "--uncertainty", name,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = load(tmp_path / "std.nii").data
    assert (written[mask > 0] > 0).all()
    assert (written[mask == 0] == 0).all()


def test_noise_cannot_be_followed_through_a_single_step():
    with pytest.raises(ValueError, match="noise_propagation follows noise through an inversion"):
        Config(uncertainty="noise_propagation")
    assert Config(uncertainty="noise_propagation", inversion="tkd").plan(2).uncertainty is not None


def test_command_writes_the_deviation(tmp_path):
    mask = _files(tmp_path, (24, 22, 20), 9)
    arguments = ("--mask", tmp_path / "mask.nii.gz", "--out", tmp_path / "chi.nii.gz")
    done = jaxqsm("invert", tmp_path / "field.nii.gz", *arguments, "--out-std", tmp_path / "std.nii.gz")
    assert done.returncode == 0, done.stderr
    written = load(tmp_path / "std.nii.gz").data
    assert (written[mask > 0] > 0).all()
    assert (written[mask == 0] == 0).all()
    done = jaxqsm(
        "invert", tmp_path / "field.nii.gz", *arguments, "--method", "ss_tv", "--out-std", tmp_path / "s.nii",
        "--overwrite",
    )  # fmt: skip
    assert done.returncode == 2
    assert "--out-std" in done.stderr
    assert "Traceback" not in done.stderr
