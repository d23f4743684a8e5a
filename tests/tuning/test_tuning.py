"""The weight that the data choose is near the one that the truth would."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ball, jaxqsm, relative_error, smooth_blobs

from jaxqsm import Geometry
from jaxqsm.inversion import (
    heidi,
    l1_qsm,
    medi,
    rts,
    tikhonov,
    tkd,
    tv,
)
from jaxqsm.io import load, save
from jaxqsm.masking import object_scale
from jaxqsm.methods import find_method
from jaxqsm.physics import dipole_field
from jaxqsm.single_step import ss_tv
from jaxqsm.tuning import choose_weight, learn_weight
from jaxqsm.tuning.learn_weight import ReferenceScan
from jaxqsm.variational.common import referenced

SHAPE = (40, 36, 32)
GEOMETRY = Geometry((1.0, 1.1, 1.4), (0.3, 0.4, 0.85))


def _scan(noise):
    mask = jnp.asarray(ball(SHAPE, 13))
    chi = 0.05 * smooth_blobs(SHAPE)
    chi[14:20, 14:20, 12:18] += 0.15
    chi[22:26, 16:22, 14:20] -= 0.1
    chi = referenced(jnp.asarray(chi, jnp.float32), mask)
    rng = np.random.default_rng(0)
    field = dipole_field(chi, GEOMETRY, kernel="integrated") + noise * jnp.asarray(rng.standard_normal(SHAPE))
    magnitude = jnp.asarray(1 + (np.asarray(chi) > 0.08), jnp.float32) * mask
    return chi, field.astype(jnp.float32) * mask, mask, magnitude


@pytest.mark.parametrize(
    "method", [tv, tikhonov, *(pytest.param(m, marks=pytest.mark.slow) for m in (medi, l1_qsm))]
)
def test_is_near_the_best_of_a_grid(method):
    chi, field, mask, magnitude = _scan(0.004)
    options = {} if method is tikhonov else {"magnitude": magnitude}
    chosen = choose_weight(method, field, mask, GEOMETRY, **options)

    def error(weight):
        return relative_error(method(field, mask, GEOMETRY, weight=weight, **options), chi, mask)

    best = min(error(chosen * factor) for factor in (0.2, 0.4, 0.7, 1.4, 2.5, 5.0))
    # That of tikhonov follows tv's by a ratio of heads: of this object of boxes it is 12 % above the best.
    assert error(chosen) < (1.2 if method is tikhonov else 1.1) * best


@pytest.mark.slow
def test_is_near_the_best_of_a_grid_from_the_total_field():
    """A background ten times as strong as the local field does not matter."""
    chi, field, mask, magnitude = _scan(0.004)
    outside = jnp.zeros(SHAPE).at[1:4, 14:20, 2:6].set(100.0)
    background = dipole_field(outside, GEOMETRY, kernel="integrated") * mask
    assert float(jnp.std(background[mask])) > 5 * float(jnp.std(field[mask]))
    scan = field + background, mask, GEOMETRY
    options = {"magnitude": magnitude, "radii": (6.0, 3.0, 2.0)}

    def error(weight):
        found, valid = ss_tv(*scan, weight=weight, **options)
        return relative_error(found, referenced(chi, valid), valid)

    chosen = choose_weight(ss_tv, *scan, **options)
    # This object of boxes is drawn better than its held-out field tells: 20 % above the best of the grid.
    assert error(chosen) < 1.25 * min(error(chosen * factor) for factor in (0.2, 0.4, 0.7, 1.4, 2.5, 5.0))


@pytest.mark.parametrize("penalty", ["gradient", "identity", "laplacian"])
def test_quadratic_penalties_follow_the_strength_of_the_field(penalty):
    """χ twice as strong, with its noise, leaves their weights as they are, whatever the unit of |Rχ|²."""
    _, field, mask, _ = _scan(0.004)
    chosen, doubled = (
        float(choose_weight(tikhonov, scale * field, mask, GEOMETRY, penalty=penalty)) for scale in (1, 2)
    )
    assert doubled == pytest.approx(chosen, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("method", [rts, heidi])
def test_methods_that_keep_most_of_k_space_take_the_weight_of_total_variation(method):
    """Noise hardly tells their weights apart by the field that they predict; by χ it does."""
    chi, field, mask, _ = _scan(0.01)
    ratio = method.typical_weight / tv.typical_weight
    chosen = float(choose_weight(method, field, mask, GEOMETRY))
    assert chosen == pytest.approx(ratio * float(choose_weight(tv, field, mask, GEOMETRY)), rel=1e-5)
    errors = {
        power: relative_error(method(field, mask, GEOMETRY, weight=chosen * 2.0**power), chi, mask)
        for power in (-3, -2, -1, 0, 1, 2, 3)
    }
    assert errors[0] < 1.1 * min(errors.values())


@pytest.mark.parametrize(
    ("method", "start"), [pytest.param(tv, 1e-4, marks=pytest.mark.slow), (tikhonov, 1e-3)]
)
def test_with_a_truth_the_weight_descends_to_the_best_for_all_scans(method, start):
    scans = []
    for noise in (0.002, 0.01):
        chi, field, mask, magnitude = _scan(noise)
        image = magnitude if method is tv else None
        scans.append(ReferenceScan(field, mask, GEOMETRY, chi + 0.3, image))  # no constant of χ matters
    learned = learn_weight(method, scans, start=start)

    def given(scan):
        return {} if scan.magnitude is None else {"magnitude": scan.magnitude}

    def error(weight):
        return sum(
            relative_error(method(*scan[:3], **given(scan), weight=weight), chi, mask) for scan in scans
        )

    assert learned > 5 * start
    assert error(learned) < 1.02 * min(error(learned * factor) for factor in (0.25, 0.5, 2.0, 4.0))


def test_a_truth_is_needed_and_a_weight():
    chi, field, mask, _ = _scan(0.0)
    with pytest.raises(ValueError, match="at least one scan"):
        learn_weight(tv, [])
    with pytest.raises(ValueError, match="tkd has no weight"):
        learn_weight(tkd, [ReferenceScan(field, mask, GEOMETRY, chi)])


def test_follows_noise_and_unit_of_the_field():
    quiet, noisy = (choose_weight(tv, *_scan(noise)[1:3], GEOMETRY) for noise in (0.0005, 0.008))
    assert noisy > 3 * quiet
    chi, field, mask, _ = _scan(0.004)
    once, fourfold = (choose_weight(tv, factor * field, mask, GEOMETRY) for factor in (1, 4))
    errors = [
        relative_error(tv(4 * field, mask, GEOMETRY, weight=w), 4 * chi, mask) for w in (fourfold, 4 * once)
    ]
    assert fourfold > 2 * once
    assert errors[0] < 1.1 * errors[1]


def test_a_method_searches_where_no_weight_is_given():
    """Also when compiled and mapped; a gradient takes the weight as a constant."""
    _, field, mask, _ = _scan(0.004)
    fields = jnp.stack([field, 2 * field])
    once = [tv(f, mask, GEOMETRY, weight=choose_weight(tv, f, mask, GEOMETRY)) for f in fields]
    mapped = jax.jit(jax.vmap(lambda f: tv(f, mask, GEOMETRY)))(fields)
    for found, alone in zip(mapped, once, strict=True):
        assert relative_error(found, alone, mask) < 0.02

    def energy(scale, weight=None):
        return jnp.sum(tv(scale * field, mask, GEOMETRY, weight=weight) ** 2)

    weight = choose_weight(tv, field, mask, GEOMETRY)
    assert jax.grad(energy)(1.0) == pytest.approx(float(jax.grad(energy)(1.0, weight)), rel=0.01)


def test_residual_background_is_not_fitted():
    """Far sources' field, ten times as strong as that of the tissue, changes the weight little."""
    _, field, mask, _ = _scan(0.004)
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    background = jnp.asarray(0.2 * (x**2 - y**2), jnp.float32) * mask
    clean, spoiled = (choose_weight(tv, f, mask, GEOMETRY) for f in (field, field + background))
    assert 0.5 < float(spoiled / clean) < 4


@pytest.mark.parametrize("radius", [5, 7, 9])
def test_objects_too_small_to_tell_have_the_typical_weight(radius):
    """One or two held-out regions would be predicted by chance."""
    mask = jnp.asarray(ball(SHAPE, radius))
    field = dipole_field(0.1 * jnp.asarray(smooth_blobs(SHAPE), jnp.float32) * mask, GEOMETRY) * mask
    assert float(choose_weight(tv, field, mask, GEOMETRY)) == pytest.approx(tv.typical_weight)


def test_weights_that_leave_no_chi_are_passed_on_the_way_down():
    """The search begins where χ is all but none: there misfits are alike, and rounding makes a minimum."""
    chi, field, mask, _ = _scan(0.004)
    far = float(choose_weight(tv, field, mask, GEOMETRY, typical=20 * tv.typical_weight))
    near = float(choose_weight(tv, field, mask, GEOMETRY))
    errors = [relative_error(tv(field, mask, GEOMETRY, weight=w), chi, mask) for w in (far, near)]
    assert errors[0] < 1.1 * errors[1]


def test_a_trace_of_chi_is_no_minimum():
    """What heavy weights leave of χ differs by rounding: here most of it is left where the search begins."""
    _, field, mask, _ = _scan(0.004)
    typical, limit = tv.typical_weight, 4 * tv.typical_weight

    def fading(field, mask, geometry, *, weights=None, weight):
        trace = 1e-3 * jnp.exp(-(jnp.log(weight / (27 * typical)) ** 2))
        found = tv(field, mask, geometry, weights=weights, weight=jnp.minimum(weight, limit))
        return jnp.where(weight > limit, trace, 1) * found

    assert float(choose_weight(fading, field, mask, GEOMETRY, typical=typical)) < limit


def test_is_refused_where_there_is_nothing_to_choose():
    _, field, mask, _ = _scan(0.0)
    with pytest.raises(ValueError, match="tkd has no weight"):
        choose_weight(tkd, field, mask, GEOMETRY)
    assert find_method("inversion", "tv").option("weight").parse("auto") is None
    with pytest.raises(ValueError, match="needs a number"):
        find_method("inversion", "tkd").option("threshold").parse("auto")


def test_command_finds_it_and_says_it(tmp_path):
    _, field, mask, _ = _scan(0.004)
    for name, volume in (("field", field), ("mask", mask)):
        save(tmp_path / f"{name}.nii.gz", np.asarray(volume), np.diag([1.0, 1.1, 1.4, 1.0]))
    done = jaxqsm(
        "invert", tmp_path / "field.nii.gz", "--mask", tmp_path / "mask.nii.gz", "--b0-dir", 0.3, 0.4, 0.85,
        "--method", "tv", "--set", "weight=auto", "--out", tmp_path / "chi.nii.gz",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = float(done.stderr.split("weight ")[-1].split()[0])
    # Weights are tried from the default of an object of this size.
    scale = float(object_scale(mask, GEOMETRY))
    chosen = scale * float(choose_weight(tv, field, mask, GEOMETRY.scaled(1 / scale)))
    assert said == pytest.approx(chosen, rel=0.15)
    found = load(tmp_path / "chi.nii.gz").data
    assert relative_error(found, tv(field, mask, GEOMETRY, weight=said), mask) < 0.08
