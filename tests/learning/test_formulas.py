"""Every part of a training step and of a loss, against its formula written once more in NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import ball
from safetensors.numpy import load_file

from jaxqsm.geometry import Geometry
from jaxqsm.learning import (
    DataConfig,
    ExampleStream,
    SimulatedExamples,
    TrainingConfig,
    losses,
    simulated_examples,
    train,
)
from jaxqsm.learning import training as training_module
from jaxqsm.learning.adversarial import CriticState, CriticTraining
from jaxqsm.learning.config import FAULTS
from jaxqsm.learning.examples import Example
from jaxqsm.learning.losses import (
    denoising,
    divergence,
    edge,
    gradient,
    l1,
    l2,
    likelihood,
    model,
    total_variation,
)
from jaxqsm.learning.objective import FADING, objective
from jaxqsm.learning.simulated_examples import Faults
from jaxqsm.networks import Network, read_notes
from jaxqsm.networks.network import VoxelwiseNormal
from jaxqsm.physics import dipole_convolve, dipole_kernel
from jaxqsm.variational.common import padded_shape

SHAPE = (8, 8, 8)


class Line(nnx.Module):
    """χ = scale · field + shift · weights."""

    def __init__(self):
        self.scale, self.shift = nnx.Param(jnp.array(0.5)), nnx.Param(jnp.array(0.2))

    def __call__(self, field, mask, geometry, weights):
        return self.scale * field + self.shift * weights


class Known(ExampleStream):
    """χ is three times the field, less a ramp."""

    def make_patch(self, number):
        rng = np.random.default_rng([self.seed, number])
        field = jnp.asarray(rng.standard_normal(SHAPE), jnp.float32)
        ramp = jnp.linspace(-1, 1, 8)[:, None, None] * jnp.ones(SHAPE)
        return Example(field, 3 * field - ramp, jnp.ones(SHAPE, bool), 1 + ramp, Geometry())

    def held_out(self, count):
        other = self.of_others()
        return [other.batch(number) for number in range(count)]


STEPS = 12


SEEN: list[str] = []


class Witness(Line):
    """A line that says by what precision it would multiply."""

    def __call__(self, *inputs):
        SEEN.append(jax.config.jax_default_matmul_precision)
        return super().__call__(*inputs)


def _train(folder, **changes):
    data = DataConfig(shape=8, batch_size=2, window=1, reuse=1)
    given = {
        "learning_rate": 0.1,
        "warmup": 4,
        "weight_decay": 0.05,
        "clip": 0.01,
        "ema": 0.3,
        "validation": 0,
    }
    config = TrainingConfig("own", "inversion", steps=STEPS, losses={"l2": 1.0}, data=data, **given | changes)
    stream = Known(data, config.seed)
    reports = list(train(config, folder, network=Line(), examples=stream))
    weights = load_file(folder / "weights.safetensors")
    found = np.array([weights["function.scale"], weights["function.shift"]], float)
    return config, stream, reports, found


def _adamw(config, stream):
    """Parameters after every step, and their average, by the published equations."""

    def loss(both, batch):
        out = both[0] * batch.field + both[1] * batch.weights
        target = batch.target - batch.target.mean((1, 2, 3), keepdims=True)
        square = ((out - target) ** 2).mean((1, 2, 3)) / (target**2).mean((1, 2, 3))
        return jnp.mean(jnp.sqrt(square))

    parameters = np.array([0.5, 0.2])
    first, second, average = np.zeros(2), np.zeros(2), parameters.copy()
    rates, history = [], []
    for step in range(config.steps):
        slope = np.array(jax.grad(loss)(jnp.asarray(parameters, jnp.float32), stream.batch(step)), float)
        slope *= min(1, config.clip / np.linalg.norm(slope))
        first = 0.9 * first + 0.1 * slope
        second = 0.99 * second + 0.01 * slope**2
        size = (first / (1 - 0.9 ** (step + 1))) / (np.sqrt(second / (1 - 0.99 ** (step + 1))) + 1e-8)
        if step < config.warmup:
            rate = config.learning_rate * step / config.warmup
        else:
            part = (step - config.warmup) / (config.steps - config.warmup)
            rate = config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * part)))
        parameters = parameters - rate * (size + config.weight_decay * parameters)
        decay = min(config.ema, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * parameters
        rates.append(rate)
        history.append(average)
    return rates, history, parameters


def test_a_step_is_that_of_adamw_with_warm_up_clip_decay_and_average(tmp_path):
    config, stream, reports, found = _train(tmp_path)
    rates, history, last = _adamw(config, stream)
    np.testing.assert_allclose([r.learning_rate for r in reports], rates, rtol=1e-5)
    np.testing.assert_allclose(found, history[-1], rtol=1e-4)
    # The average is another one than the last weights, and clip and decay matter here.
    assert np.abs(history[-1] - last).max() > 3e-3
    for other in ({"clip": 1e9}, {"weight_decay": 0.0}, {"warmup": 1}, {"ema": 0.0}):
        changed = _adamw(TrainingConfig(**{**vars(config), **other}), stream)[1][-1]
        assert np.abs(changed - history[-1]).max() > 5e-4, other


def test_validation_and_what_is_kept_are_of_the_average_on_other_examples(tmp_path):
    config, stream, reports, found = _train(tmp_path, validation=3, validate_every=5, ema=0.9)
    _, history, last = _adamw(config, stream)

    def error(both):
        each = []
        for batch in stream.held_out(3):
            target = batch.target - batch.target.mean()
            out = both[0] * batch.field + both[1] * batch.weights
            each.append(np.linalg.norm(out - out.mean() - target) / np.linalg.norm(target))
        return np.mean(each)

    scored = {r.step: r.validation for r in reports if r.validation is not None}
    assert set(scored) == {5, 10, 12}
    for step, value in scored.items():
        assert value == pytest.approx(error(history[step - 1]), rel=2e-3)
    assert abs(error(last) - error(history[-1])) > 0.005
    best = min(scored, key=scored.get)
    np.testing.assert_allclose(found, history[best - 1], rtol=2e-3)
    trained_on = [stream.make_patch(number).field for number in range(2 * STEPS)]
    for batch in stream.held_out(3):
        assert not any(np.array_equal(np.sort(batch.field, None), np.sort(f, None)) for f in trained_on)


def test_simulated_examples_are_validated_on_another_stream(monkeypatch):
    stream = SimulatedExamples(DataConfig(shape=8), "inversion", seed=7)
    seeds = []
    zeros = jnp.zeros(SHAPE)

    def made(self, number):
        seeds.append(self.seed)
        return Example(zeros, zeros, zeros > 0, zeros, Geometry())

    monkeypatch.setattr(SimulatedExamples, "make_patch", made)
    stream.held_out(2)
    assert seeds
    assert 7 not in seeds


def test_residual_background_and_missing_magnitude_are_as_frequent_as_they_say(monkeypatch):
    drawn = []

    def made(key, patch, contrast, part, weighted, faults, **rest):
        drawn.append((float(part), bool(weighted)))

    monkeypatch.setattr(simulated_examples, "_example", made)
    config = DataConfig(
        shape=8, unweighted=0.3, faults=dict.fromkeys(FAULTS, 0.0), residual_background=(0.1, 0.2)
    )
    stream = SimulatedExamples(config, "inversion", seed=1)
    stream._draw = {kind: lambda key: {} for kind in stream._draw}
    for number in range(400):
        stream.make_patch(number)
    parts, weighted = (np.array(values) for values in zip(*drawn, strict=True))
    assert 0.4 < (parts > 0).mean() < 0.6
    assert parts[parts > 0].min() >= 0.1
    assert parts.max() <= 0.2
    assert 0.22 < (~weighted).mean() < 0.38


def test_the_noise_of_a_field_is_that_of_its_scan():
    stream = SimulatedExamples(DataConfig(shape=16, sources={"shapes": 1.0}), "inversion", seed=2)
    patch = jax.tree.map(lambda leaf: leaf[0], stream._draw["shapes"](jax.random.key(0)))
    none = Faults(*(jnp.zeros(3) if name == "shift" else 0.0 for name in Faults._fields))
    make = partial(simulated_examples._example, task="inversion", kernel="kspace")
    one, two = (make(jax.random.key(number), patch, 1.0, 0.0, False, none) for number in (1, 2))
    precision = np.sqrt(np.sum((patch.magnitude * patch.acquisition.phase_per_ppm) ** 2, axis=-1))
    expected = np.minimum(1 / (patch.snr * np.maximum(precision, 1e-6)), simulated_examples.HIGHEST_NOISE)
    inside = np.asarray(one.mask)
    relative = (np.asarray(one.field - two.field) / np.sqrt(2) / expected)[inside]
    assert relative.std() == pytest.approx(1, abs=4 / np.sqrt(inside.sum()))
    # Where no magnitude comes along, the mask stands in its place.
    np.testing.assert_array_equal(one.weights, one.mask)
    weighted = make(jax.random.key(1), patch, 1.0, 0.0, True, none)
    assert np.ptp(np.asarray(weighted.weights)[inside]) > 0


class Iterates(Network):
    """Three outputs, which are so many times the target."""

    FACTORS = (4.0, 2.0, 1.5)

    def __call__(self, field, *others):
        return self.FACTORS[-1] * field

    def iterates(self, field, *others):
        return [factor * field for factor in self.FACTORS]


def test_the_last_iterate_counts_most():
    field = jnp.asarray(np.random.default_rng(0).standard_normal((2, *SHAPE)), jnp.float32)
    geometry = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), Geometry())
    example = Example(field, field, jnp.ones(field.shape, bool), jnp.ones(field.shape), geometry)
    total, last = objective(Iterates(), example, {"l2": 2.0}, centred=False)
    weights = np.array([FADING**2, FADING, 1])
    assert float(total) == pytest.approx(2 * weights @ [3, 1, 0.5] / weights.sum(), rel=1e-4)
    np.testing.assert_allclose(last, 1.5 * field)


def test_the_gradient_loss_is_the_mean_over_axes_of_mean_differences():
    rng = np.random.default_rng(1)
    target, error = rng.standard_normal((2, 1, *SHAPE))
    mask = np.zeros((1, *SHAPE), bool)
    mask[:, 1:7, 2:7, 1:6] = True
    inside = (0, slice(1, 7), slice(2, 7), slice(1, 6))
    steps = [np.abs(np.diff(error[inside], axis=axis)).mean() for axis in range(3)]
    expected = np.mean(steps) / np.sqrt((target[inside] ** 2).mean())
    assert float(gradient(target + error, target, mask)) == pytest.approx(expected, rel=1e-5)


def _box():
    """Target, error and variance in a box of the volume, which is the mask; rubbish outside."""
    target, error, variance = np.random.default_rng(3).standard_normal((3, *SHAPE))
    inside = (slice(1, 7), slice(2, 7), slice(1, 6))
    mask = np.zeros(SHAPE, bool)
    mask[inside] = True
    return target, error, np.exp(variance), mask, inside


def _batch(*volumes):
    return [jnp.asarray(v, None if v.dtype == bool else jnp.float32)[None] for v in volumes]


def test_losses_against_a_truth_are_their_formulas():
    target, error, variance, mask, inside = _box()
    given = _batch(target + error, target, mask)
    t, e, v = target[inside], error[inside], variance[inside]
    size = np.sqrt((t**2).mean())
    steps = [(np.abs(np.diff(t, axis=a)), np.abs(np.diff(e, axis=a))) for a in range(3)]
    by_edge = [(np.minimum(s / s.mean(), 5) * d).mean() for s, d in steps]
    expected = {
        l1: np.abs(e).mean() / size,
        l2: np.sqrt((e**2).mean()) / size,
        edge: np.mean(by_edge) / size,
    }
    for loss, value in expected.items():
        assert float(loss(*given)) == pytest.approx(value, rel=1e-5), loss
    variation = np.mean([np.abs(np.diff(t, axis=a)).mean() for a in range(3)]) / size
    assert float(total_variation(*_batch(target, mask))) == pytest.approx(variation, rel=1e-5)
    precision = (e**2 * (v**2 + 1 / losses.TYPICAL_CHI**2)).mean()
    assert float(denoising(*given, *_batch(variance))) == pytest.approx(precision, rel=1e-5)
    posterior = VoxelwiseNormal(*_batch(target + error, variance))
    expected_likelihood = (0.5 * e**2 / v + 0.5 * np.log(v / size**2)).mean()
    found = likelihood(posterior, *_batch(target, mask))
    assert float(found) == pytest.approx(expected_likelihood, rel=1e-5)


def test_the_divergence_is_an_expectation_over_maps(monkeypatch):
    """Its misfit is the mean of those of maps that are drawn from the posterior."""
    monkeypatch.setattr(losses, "NOISE", 1.0)  # so that no term outweighs the others
    field, mean, variance, mask, _ = _box()
    variance = 4 * variance * mask
    geometry = jax.tree.map(lambda leaf: leaf[None], Geometry(b0_dir=(0.0, 0.6, 0.8)))
    draws = np.random.default_rng(4).standard_normal((1600, *SHAPE)) * np.sqrt(variance)
    predicted = np.asarray(jax.lax.map(_periodic_field, jnp.asarray(mean * mask + draws, jnp.float32)))
    drawn = ((predicted - field)[:, mask] ** 2).mean()
    size = (field[mask] ** 2).mean()
    entropy = 0.5 * np.log((variance[mask] + 1e-30) / size).mean()
    prior = float(total_variation(*_batch(mean * mask, mask)))
    expected = 0.5 * drawn / (losses.NOISE**2 * size) - entropy + losses.PRIOR * prior
    posterior = VoxelwiseNormal(*_batch(mean * mask, variance + 1e-30))
    found = divergence(posterior, *_batch(field, mask), geometry)
    assert float(found) == pytest.approx(expected, abs=0.015)


def test_the_model_loss_trusts_each_voxel_by_its_magnitude():
    rng = np.random.default_rng(2)
    mask = ball(SHAPE, 3.5)
    chi, noise = 0.1 * rng.standard_normal((2, *SHAPE))
    magnitude = np.where(rng.random(SHAPE) < 0.5, 0.2, 1.0)
    geometry = jax.tree.map(lambda leaf: leaf[None], Geometry(b0_dir=(0.0, 0.6, 0.8)))
    field = noise * mask
    weights = magnitude * mask / np.sqrt((magnitude[mask] ** 2).mean())
    predicted = np.asarray(_periodic_field(chi))
    misfit = (weights * np.abs(predicted - field))[mask].mean()
    expected = misfit / np.sqrt(((weights * field)[mask] ** 2).mean())
    found = model(*(jnp.asarray(v)[None] for v in (chi, field, mask)), geometry, jnp.asarray(magnitude)[None])
    assert float(found) == pytest.approx(expected, rel=1e-4)


def _periodic_field(chi):
    """Dipole field on the padded grid that inversions use."""
    shape = padded_shape(chi.shape)
    return dipole_convolve(jnp.asarray(chi), dipole_kernel(shape, Geometry(b0_dir=(0.0, 0.6, 0.8))), shape)


class Judge:
    """A critic that scores by the mean: the higher, the truer."""

    def __init__(self, *given):
        pass

    def first(self):
        return CriticState(jnp.zeros(()), jnp.zeros(()))

    def loss(self, critic, output, example):
        return -jnp.mean(output)

    def step(self, critic, output, example, number):
        return critic


def test_a_network_goes_where_its_critic_wants_it(tmp_path, monkeypatch):
    monkeypatch.setattr(training_module, "CriticTraining", Judge)
    *_, without = _train(tmp_path / "a")
    *_, pulled = _train(tmp_path / "b", adversarial=30.0)
    assert pulled[1] > without[1] + 0.1


def test_the_adversarial_loss_is_minus_the_score():
    critic_training = CriticTraining(1e-3, seed=0)
    critic = critic_training.first()
    rng = np.random.default_rng(3)
    real, out = jnp.asarray(0.05 * rng.standard_normal((2, 1, 16, 16, 16)), jnp.float32)
    mask = jnp.ones(real.shape, bool)
    example = Example(0.1 * real, real, mask, mask, Geometry())
    size = jnp.sqrt(jnp.mean(real**2))
    score = critic_training._judge(critic.parameters, out / size, real / size)
    assert float(critic_training.loss(critic, out, example)) == pytest.approx(-float(score.mean()), rel=1e-4)


def test_files_of_weights_say_what_they_are_of(tmp_path):
    *_, found = _train(tmp_path)
    notes = read_notes(tmp_path / "weights.safetensors")
    assert (notes["task"], notes["steps"]) == ("inversion", str(STEPS))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("precision", ["bfloat16", None])
def test_any_network_is_trained_by_the_precision_of_its_run_and_judged_by_float32(tmp_path, precision):
    SEEN.clear()
    data = DataConfig(shape=8, window=1, reuse=1)
    given = {} if precision is None else {"precision": precision}
    config = TrainingConfig("own", "inversion", steps=1, data=data, validation=1, **given)
    list(train(config, tmp_path, network=Witness(), examples=Known(data, 1)))
    assert set(SEEN) == {precision or "tensorfloat32", "float32"}
    assert jax.config.jax_default_matmul_precision is None
