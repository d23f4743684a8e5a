"""The test bench: its trials hold what they say, a perfect inversion scores perfectly."""

import dataclasses
import json
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import jaxqsm, relative_error
from qsm_ci import qsm_eval

from jaxqsm.cli import stress as stress_command
from jaxqsm.evaluation import EVALUATION_SCANS, SWEEPS, Outcome, draw_sweeps, score, stress, sweep_tables
from jaxqsm.evaluation.trial import make_trial
from jaxqsm.io import InputError
from jaxqsm.methods import Method, find_method
from jaxqsm.operators import MaskedVolume, erode
from jaxqsm.phantoms import head
from jaxqsm.physics import dipole_field
from jaxqsm.simulation import Protocol

COARSE = 3.0


@pytest.fixture(autouse=True, scope="module")
def phantoms_as_coarse_as_scans():
    """Seconds instead of minutes: the signal is formed on the scan's own voxels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["jaxqsm.simulation.protocol"], "ANATOMY_DETAIL", 10.0)
        yield


def _oracle(trials):
    """A method that knows the truth of the trial it is given, and halves it."""

    def halving(local_field, mask, geometry):
        (chi,) = (t.truth for t in trials if t.field is local_field)
        return 0.5 * chi

    return Method("inversion", "halving", halving)


def test_a_method_that_halves_chi_scores_a_slope_of_one_half():
    trials = []

    def keep(level, size, stage):
        trials.append(SWEEPS["snr"].trial(level, size, stage))
        return trials[-1]

    sweep = dataclasses.replace(SWEEPS["snr"], levels=(30.0, 100.0), trial=keep)
    outcomes = list(stress([_oracle(trials)], [sweep], voxel_size=COARSE))
    assert [o.level for o in outcomes] == [30.0, 100.0]
    for outcome in outcomes:
        assert outcome.scores["slope"] == pytest.approx(0.5, abs=1e-4)
        assert outcome.scores["nrmse"] == pytest.approx(50, abs=0.01)


def test_voxels_without_a_value_count_as_zero_in_the_whole_mask_as_qsm_ci_scores():
    trial = SWEEPS["snr"].trial(100.0, COARSE, "single_step")
    inner = erode(trial.mask, 6.0, trial.geometry)
    half = Method("single_step", "half", lambda *_: MaskedVolume(0.5 * trial.truth * inner, inner))
    scores, _ = score(half, trial)
    scan = (np.asarray(v) for v in (0.5 * trial.truth * inner, trial.truth, trial.mask))
    theirs, _ = qsm_eval.score_arrays(*scan)
    assert scores["whole"] == pytest.approx(theirs["nrmse"], rel=1e-3)
    assert scores["valid"] == pytest.approx(theirs["coverage"], rel=2e-2)  # some χ are zero
    assert scores["nrmse"] == pytest.approx(50, abs=0.01)
    assert scores["whole"] > 60


def test_reference_level_is_inverted_once(monkeypatch):
    made = []

    def trial(level, size, stage):
        made.append(level)
        return SWEEPS["snr"].trial(100.0, size, stage)

    sweeps = [
        dataclasses.replace(SWEEPS["snr"], levels=(100.0,), trial=trial),
        dataclasses.replace(SWEEPS["tilt"], levels=(0.0,), trial=trial),
    ]
    first, second = stress([find_method("inversion", "tkd")], sweeps, voxel_size=COARSE)
    assert made == [100.0]
    assert first.scores == second.scores
    assert (first.sweep, second.sweep, second.level) == ("snr", "tilt", 0.0)


@pytest.mark.slow
def test_trial_is_the_field_of_its_truth():
    """Local field against the dipole field of χ in the mask; scale, noise and left-over as asked."""
    chi_scale, snr, residual_background = (
        SWEEPS["chi_scale"].trial,
        SWEEPS["snr"].trial,
        SWEEPS["residual_background"].trial,
    )
    clean = snr(1e6, COARSE, "inversion")
    field = dipole_field(clean.truth * clean.mask, clean.geometry, kernel="bandlimited")
    assert relative_error(clean.field, field, clean.mask) < 1e-3
    noisy = [np.asarray(snr(level, COARSE, "inversion").field - clean.field) for level in (15.0, 60.0)]
    inside = np.asarray(clean.mask)
    assert noisy[0][inside].std() == pytest.approx(4 * noisy[1][inside].std(), rel=0.05)
    double = chi_scale(2.0, COARSE, "inversion")
    assert relative_error(double.truth, 2 * clean.truth, clean.mask) < 0.05
    leaky, whole = (
        residual_background(0.05, COARSE, "inversion"),
        residual_background(0.0, COARSE, "inversion"),
    )
    extra = np.asarray(leaky.field - whole.field)[inside]
    assert extra.std() > np.asarray(noisy[1])[inside].std()


@pytest.mark.slow
def test_noise_of_the_field_is_that_of_a_weighted_fit():
    """Against the spread of the phase slope fitted to noisy echoes, voxel by voxel."""
    protocol = Protocol(voxel_size=(4.0, 4.0, 4.0), oversampling=1, snr=80.0)
    clean = dataclasses.replace(protocol, snr=float("inf")).scan(head((4.0, 4.0, 4.0)), key=jax.random.key(0))
    trials = [make_trial(clean, protocol, key=jax.random.key(k)) for k in range(12)]
    spread = np.std([np.asarray(t.field) for t in trials], axis=0)
    inside = np.asarray(trials[0].mask)
    sensitivity = np.asarray(protocol.acquisition.phase_per_ppm)
    fits = []
    for k in range(12):
        noisy = protocol.scan(head((4.0, 4.0, 4.0)), key=jax.random.key(k)).signal
        same_coil = dataclasses.replace(protocol, snr=float("inf")).scan(
            head((4.0,) * 3), key=jax.random.key(k)
        )
        error = np.angle(np.asarray(noisy * jnp.conj(same_coil.signal)))
        weight = np.abs(np.asarray(same_coil.signal)) ** 2 * sensitivity
        weight, error = weight[clean.mask], error[clean.mask]
        fits.append((weight * error).sum(-1) / (weight * sensitivity).sum(-1))
    expected = np.std(fits, axis=0)
    assert np.median(spread[inside]) == pytest.approx(np.median(expected), rel=0.1)


@pytest.mark.slow
def test_lesion_sweep_adds_one_body_of_its_strength():
    lesion, healthy = (SWEEPS["lesion"].trial(level, 2.0, "inversion") for level in (1.0, 0.0))
    change = np.asarray(lesion.truth - healthy.truth)
    volume = (change > 0.5).sum() * 8
    assert volume == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.35)
    assert change.max() == pytest.approx(1.0, abs=0.12)
    tilted = SWEEPS["tilt"].trial(90.0, COARSE, "inversion")
    np.testing.assert_allclose(tilted.geometry.unit_b0_dir, [0, 1, 0], atol=1e-6)
    eroded = SWEEPS["erosion"].trial(6.0, COARSE, "inversion")
    assert eroded.mask.sum() < 0.9 * SWEEPS["erosion"].trial(0.0, COARSE, "inversion").mask.sum()


def test_every_sweep_has_its_reference_and_the_set_differs_in_one_factor():
    for sweep in SWEEPS.values():
        assert sweep.reference in sweep.levels
        assert set(sweep.few().levels) <= set(sweep.levels)
    assert len(EVALUATION_SCANS) == 8
    reference = dataclasses.asdict(EVALUATION_SCANS[0].protocol)
    for scan in EVALUATION_SCANS[1:]:
        changed = {k for k, v in dataclasses.asdict(scan.protocol).items() if v != reference[k]}
        changed |= {"pathology"} if scan.pathology else set()
        allowed = {"fine": {"voxel_size", "oversampling"}, "hasty": {"bipolar", "partial_fourier"}}
        assert changed == allowed.get(scan.name, changed)
        assert len(changed) == len(allowed.get(scan.name, [0]))
    keys = {tuple(np.asarray(jax.random.key_data(s.key)).tolist()) for s in EVALUATION_SCANS}
    assert len(keys) == 8


@pytest.mark.slow
def test_tables_and_figure_show_every_method(tmp_path):
    methods = [find_method("inversion", name) for name in ("tkd", "tikhonov")]
    sweeps = [dataclasses.replace(SWEEPS["tilt"], levels=(0.0, 45.0))]
    outcomes = list(stress(methods, sweeps, voxel_size=4.0))
    text = sweep_tables(outcomes)
    assert "| tilt in degrees | tkd: NRMSE % | tkd: slope | tkd: XSIM | tikhonov: NRMSE % |" in text
    assert "| 0 (reference) | " in text
    assert f"{outcomes[0].scores['nrmse']:.1f}" in text
    draw_sweeps(outcomes, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_every_stage_is_given_what_the_stage_before_would_leave():
    """Local field and background add up; the phase is the field's; perfect outcomes score perfectly."""
    snr = SWEEPS["snr"].trial
    local, total, removal, phase = (
        snr(1e6, COARSE, stage) for stage in ("inversion", "single_step", "background", "unwrapping")
    )
    inside = np.asarray(local.mask)
    np.testing.assert_allclose(removal.truth[inside], local.field[inside], atol=1e-5)
    np.testing.assert_allclose(removal.field, total.field)
    np.testing.assert_array_equal(total.truth, local.truth)
    background = np.asarray(total.field - local.field)[inside]
    assert background.std() > np.asarray(local.field)[inside].std()

    turns = np.asarray(phase.truth - phase.field)[inside] / (2 * np.pi)
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-3)
    assert np.ptp(np.rint(turns)) >= 2
    assert np.abs(np.asarray(phase.field)).max() <= np.pi + 1e-6
    # Between neighbours, the phase goes where the field does.
    ahead = [np.diff(np.asarray(v), axis=0)[inside[1:] & inside[:-1]] for v in (phase.truth, total.field)]
    assert np.corrcoef(*ahead)[0, 1] > 0.98


@pytest.mark.slow
def test_scores_of_unwrapping_background_and_deviation():
    """A few voxels off by a turn, half the local field in half of the mask, an error that is known."""
    snr = SWEEPS["snr"].trial
    phase = snr(100.0, COARSE, "unwrapping")
    wrong = phase.mask & (jnp.arange(phase.mask.shape[0])[:, None, None] < 20)
    off_by_one = Method("unwrapping", "m", lambda w, m, g: phase.truth + 2 * jnp.pi * (3 + wrong))
    scores, _ = score(off_by_one, phase)
    assert scores["wrong_turns"] == pytest.approx(float(100 * wrong.sum() / phase.mask.sum()))

    removal = snr(100.0, COARSE, "background")
    half = removal.mask & (jnp.arange(removal.mask.shape[1])[:, None] < removal.mask.shape[1] // 2)
    scores, _ = score(Method("background", "m", lambda f, m, g: (0.5 * removal.truth, half)), removal)
    assert scores["nrmse"] == pytest.approx(50, abs=0.01)
    assert scores["core"] == pytest.approx(50, abs=0.01)
    assert scores["valid"] == pytest.approx(float(half.sum() / removal.mask.sum()), abs=1e-3)

    on_valid_voxels = snr(100.0, COARSE, "uncertainty")
    seen = []

    def too_small(chi, local_field, mask, geometry):
        seen.append(chi)
        return jnp.zeros_like(chi)

    assert score(Method("uncertainty", "m", too_small), on_valid_voxels)[0]["coverage"] < 1
    size = jnp.std((seen[0] - on_valid_voxels.truth)[on_valid_voxels.mask])
    honest = Method("uncertainty", "m", lambda chi: jnp.full_like(chi, size))
    scores, _ = score(honest, on_valid_voxels)
    assert 80 < scores["coverage"] < 99
    assert scores["standard_deviation"] == pytest.approx(
        float(100 * size / jnp.std(on_valid_voxels.truth[on_valid_voxels.mask])), rel=0.01
    )


@pytest.mark.parametrize("stage", ["unwrapping", "uncertainty"])
def test_tables_and_figure_show_the_scores_of_the_stage(tmp_path, stage):
    scores = {"wrong_turns": 1.25, "coverage": 88.0, "standard_deviation": 20.0}
    outcomes = [Outcome("tilt", level, "m", scores, 1.0) for level in (0.0, 90.0)]
    text = sweep_tables(outcomes, stage)
    assert {"unwrapping": "m: unwrapping errors % |", "uncertainty": "m: coverage % |"}[stage] in text
    assert {"unwrapping": "| 90 | 1.2 |", "uncertainty": "| 90 | 88.0 | 20.0 |"}[stage] in text
    draw_sweeps(outcomes, tmp_path / "figure.png", stage)
    assert (tmp_path / "figure.png").stat().st_size > 5_000


def test_outcomes_of_a_stopped_run_are_not_made_again():
    """Neither where they are, nor where the reference comes again in another sweep."""
    scores = {"nrmse": 12.0}
    known = [Outcome("snr", 100.0, "tkd", scores, 1.0), Outcome("tilt", 15.0, "tkd", scores, 1.0)]
    sweeps = [
        dataclasses.replace(SWEEPS["snr"], levels=(100.0,)),
        dataclasses.replace(SWEEPS["tilt"], levels=(0.0, 15.0)),
    ]
    method = Method("inversion", "tkd", None)  # cannot be run
    found = list(stress([method], sweeps, voxel_size=COARSE, known=known))
    assert found == [known[0], Outcome("tilt", 0.0, "tkd", scores, 1.0), known[1]]


def test_stress_command_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    """What has been found is shown as it is; with other options it would be another run."""
    made = []

    def few(methods, sweeps, *, known, **others):
        made.append(list(known))
        yield Outcome("tilt", 0.0, "tkd", {"nrmse": math.nan, "slope": 1.0, "xsim": 0.5}, 1.0)
        if len(made) == 1:
            raise KeyboardInterrupt
        yield Outcome("tilt", 15.0, "tkd", {"nrmse": 40.0, "slope": 1.0, "xsim": 0.5}, 1.0)

    monkeypatch.setattr(stress_command, "run_stress", few)
    out = tmp_path / "s"
    for expected in (pytest.raises(KeyboardInterrupt), pytest.raises(InputError, match="another run")):
        with expected:
            stress_command.stress(method=("tkd",), out=out, settings=("tkd.threshold=0.1",) if made else ())
    assert not out.exists()
    stress_command.stress(method=("tkd",), out=out)
    ((first,),) = made[1:]
    assert (first.sweep, first.scores["slope"]) == ("tilt", 1.0)
    assert math.isnan(first.scores["nrmse"])
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
    assert len(json.loads((out / "stress.json").read_text())["outcomes"]) == 2


@pytest.mark.slow
def test_stress_command_writes_tables_figure_and_record(tmp_path):
    done = jaxqsm(
        "stress", "--method", "tkd", "--sweeps", "tilt", "--quick", "--voxel-size", 3,
        "--set", "tkd.threshold=0.15", "--out", tmp_path / "s",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "s").iterdir()} == {"stress.md", "stress.png", "stress.json"}
    assert '"threshold": 0.15' in (tmp_path / "s" / "stress.json").read_text()
