"""From total field to χ at once: sources outside the mask leave no trace, whatever the geometry."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import BRAIN_SHAPE as SHAPE
from helpers import (
    assert_gradient,
    at_typical_weight,
    ball,
    brain_beside_strong_sources,
    jaxqsm,
    relative_error,
    smooth_blobs,
)

from jaxqsm import Geometry, multi_stage, single_step
from jaxqsm.io import load, save
from jaxqsm.methods import METHODS
from jaxqsm.operators import erode
from jaxqsm.physics import dipole_field
from jaxqsm.pipeline import Config
from jaxqsm.variational.common import referenced

GEOMETRY = Geometry((1.0, 1.1, 1.4), (0.3, 0.4, 0.85))
OPTIONS = {
    "ss_tv": {"radii": (6.0, 3.0, 2.0)},
    "tfi": {"max_iterations": 300},
    "tgv_qsm": {"erosion": 1},
    "qsmart": {},
    "learned_single_step": {},
}
"""For a head as small as this: balls that fit, enough iterations for its strong background."""

QUICK = [n if n == "ss_tv" else pytest.param(n, marks=pytest.mark.slow) for n in METHODS["single_step"]]
TOLERANCES = {"ss_tv": 0.4, "tfi": 0.4, "tgv_qsm": 0.3, "qsmart": 0.5, "learned_single_step": 0.4}


@pytest.fixture(scope="module")
def truth():
    return brain_beside_strong_sources(GEOMETRY)


def _error(found, chi, valid):
    return relative_error(referenced(found, valid), referenced(chi, valid), valid)


@pytest.mark.parametrize("name", QUICK)
def test_recovers_the_truth_beside_strong_sources(truth, name):
    chi, total, mask = truth
    found, valid = at_typical_weight(METHODS["single_step"][name])(total, mask, GEOMETRY, **OPTIONS[name])
    assert _error(found, chi, valid) < TOLERANCES[name]
    relative = referenced(chi, valid)
    # Balls as small as these see little of what varies slowly: it is weak.
    assert 0.6 < float(jnp.vdot(found, relative) / jnp.vdot(relative, relative)) < 1.15
    assert bool((mask | ~valid).all())
    assert float(valid.sum() / mask.sum()) > 0.35
    assert float(jnp.abs(jnp.where(valid, 0, found)).max()) == 0
    assert abs(float(jnp.mean(found[valid]))) < 1e-5


@pytest.mark.slow
def test_qsmart_by_either_filter_and_with_vessels(truth):
    """The published filter takes contrast off that the default keeps; dark tubes get a stage of their own."""
    chi, total, mask = truth
    slopes = {}
    for name in ("v_sharp", "sdf"):
        found, valid = multi_stage.qsmart(total, mask, GEOMETRY, background=name)
        slopes[name] = float(jnp.vdot(found, chi) / jnp.vdot(referenced(chi, valid), chi))
    assert 0.4 < slopes["sdf"] < slopes["v_sharp"]

    bright = jnp.ones(SHAPE).at[:, SHAPE[1] // 2, SHAPE[2] // 2].set(0.3)
    for name in slopes:
        found, valid = multi_stage.qsmart(total, mask, GEOMETRY, background=name, magnitude=bright)
        whole, _ = multi_stage.qsmart(total, mask, GEOMETRY, background=name)
        assert _error(found, chi, valid) < _error(whole, chi, valid) + 0.1
        assert float(jnp.abs(found - whole).max()) > 1e-4
    with pytest.raises(ValueError, match="no background removal 'pdf'"):
        multi_stage.qsmart(total, mask, GEOMETRY, background="pdf")


@pytest.mark.parametrize("name", QUICK)
def test_wrong_direction_or_voxel_size_is_worse(truth, name):
    chi, total, mask = truth
    solve = at_typical_weight(METHODS["single_step"][name])
    right = _error(*_with(chi, solve(total, mask, GEOMETRY, **OPTIONS[name])))
    turned = Geometry(GEOMETRY.voxel_size, (0.3, -0.4, 0.85))
    squeezed = Geometry((1.4, 1.1, 1.0), GEOMETRY.b0_dir)
    for wrong in (turned, squeezed):
        assert _error(*_with(chi, solve(total, mask, wrong, **OPTIONS[name]))) > right + 0.05


def _with(chi, result):
    found, valid = result
    return found, chi, valid


@pytest.mark.parametrize("name", QUICK)
def test_rubbish_outside_and_where_there_is_no_signal(truth, name):
    _, total, mask = truth
    solve = at_typical_weight(METHODS["single_step"][name])
    found, _ = solve(total, mask, GEOMETRY, **OPTIONS[name])
    again, _ = solve(jnp.where(mask, total, 70.0), mask, GEOMETRY, **OPTIONS[name])
    np.testing.assert_allclose(again, found, atol=1e-5)


@pytest.mark.parametrize("name", ["ss_tv", pytest.param("learned_single_step", marks=pytest.mark.slow)])
def test_the_border_is_kept_and_known_in_part(truth, name):
    """Sources along the border are better known than not at all; inside, the map is the same."""
    chi, total, mask = truth
    x, y, z = np.indices(SHAPE) // 4
    border = 0.1 * jnp.asarray((-1.0) ** (x + y + z)) * (mask & ~erode(mask, 4.0, GEOMETRY))
    chi, total = chi + border, total + dipole_field(border, GEOMETRY)
    solve = at_typical_weight(METHODS["single_step"][name])
    cut, inside = solve(total, mask, GEOMETRY, whole=False, **OPTIONS[name])
    found, valid = solve(total, mask, GEOMETRY, **OPTIONS[name])
    assert bool((valid == mask).all())
    assert float((mask & ~inside).sum() / mask.sum()) > 0.05
    np.testing.assert_allclose(referenced(found, inside), cut, atol=1e-6)
    assert _error(found, chi, mask) < 0.97 * _error(cut, chi, mask)
    rim = mask & ~inside
    relative = jnp.where(rim, referenced(chi, mask), 0)
    assert float(jnp.vdot(found, relative)) > 0.1 * float(jnp.vdot(relative, relative))


def test_voxels_without_signal_do_not_matter(truth):
    """Not even to the balls that hold them."""
    chi, total, mask = truth
    lost = mask & jnp.asarray(np.random.default_rng(0).random(SHAPE) < 0.02)
    magnitude = jnp.where(lost, 0.0, 1.0)
    spoiled = jnp.where(lost, 3.0, total)
    found, valid = single_step.ss_tv(total, mask, GEOMETRY, **OPTIONS["ss_tv"])
    again, _ = single_step.ss_tv(spoiled, mask, GEOMETRY, magnitude=magnitude, edges=0.0, **OPTIONS["ss_tv"])
    assert _error(again, chi, valid) < _error(found, chi, valid) + 0.05


@pytest.mark.slow
def test_voxels_unwrapped_wrongly_pull_no_more_than_noise(truth):
    chi, total, mask = truth
    wrong = mask & jnp.asarray(np.random.default_rng(1).random(SHAPE) < 0.01)
    spoiled = total + 0.5 * wrong
    errors = []
    for field, huber_threshold in ((total, 0.02), (spoiled, 0.02), (spoiled, 10.0)):
        found, valid = single_step.ss_tv(
            field, mask, GEOMETRY, huber_threshold=huber_threshold, **OPTIONS["ss_tv"]
        )
        errors.append(_error(found, chi, valid))
    assert errors[1] - errors[0] < 0.5 * (errors[2] - errors[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [("ss_tv", {"radii": (4.0, 2.0), "weight": 5e-4}), ("tgv_qsm", {"erosion": 1, "weight": 1e-3})],
)
def test_gradient_is_that_of_finite_differences(x64, name, options):
    shape = (20, 18, 16)
    mask = jnp.asarray(ball(shape, 7))
    chi = jnp.asarray(0.1 * smooth_blobs(shape)) * mask
    total = dipole_field(chi, GEOMETRY) + 0.05
    weight = jnp.asarray(np.random.default_rng(0).standard_normal(shape))

    def loss(field):
        solve = getattr(single_step, name)
        chi, _ = solve(field, mask, GEOMETRY, **options, tolerance=1e-9, max_iterations=4000)
        return jnp.sum(weight * chi)

    assert_gradient(loss, total, rtol=2e-2)


def test_pipeline_and_command_agree(truth, tmp_path):
    chi, total, mask = truth
    for name, volume in (("total", total), ("mask", mask)):
        save(tmp_path / f"{name}.nii.gz", np.asarray(volume), np.diag([1.0, 1.1, 1.4, 1.0]))
    done = jaxqsm(
        "invert", tmp_path / "total.nii.gz", "--mask", tmp_path / "mask.nii.gz", "--method", "ss_tv",
        "--b0-dir", 0.3, 0.4, 0.85, "--set", "radii=[6, 3, 2]", "--out", tmp_path / "chi.nii.gz",
        "--out-mask", tmp_path / "valid.nii.gz",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    valid = load(tmp_path / "valid.nii.gz").data > 0
    assert (
        _error(jnp.asarray(load(tmp_path / "chi.nii.gz").data), chi, jnp.asarray(valid)) < TOLERANCES["ss_tv"]
    )


def test_takes_the_place_of_two_stages_unless_they_are_named():
    assert not {"background", "inversion"} & set(Config().plan(3).steps)
    assert Config().plan(3).needed("single_step").method.name == "ss_tv"
    for named in ({"background": "pdf"}, {"inversion": "tv"}, {"single_step": "none"}):
        stages = Config(**named).plan(3).steps
        assert {"background", "inversion"} <= set(stages)
        assert "single_step" not in stages
    assert "inversion" in Config(options={"tv": {"weight": 1e-4}}).plan(3).steps
    with pytest.raises(ValueError, match="not in use"):
        Config(options={"medi": {"weight": 1e-4}})
    with pytest.raises(ValueError, match="unknown"):
        Config(single_step="nothing")
