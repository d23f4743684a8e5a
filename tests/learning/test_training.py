"""Training: examples obey the physics, runs resume exactly, losses are what they say."""

import dataclasses
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ball, relative_error, smooth_blobs
from safetensors.numpy import load_file

from jaxqsm.geometry import Geometry
from jaxqsm.inversion import tikhonov
from jaxqsm.learning import DataConfig, SimulatedExamples, TrainingConfig, read_config, train
from jaxqsm.learning.adversarial import CriticTraining
from jaxqsm.learning.config import FAULTS
from jaxqsm.learning.examples import Example
from jaxqsm.learning.losses import edge, gradient, l1, l2, model, total_variation
from jaxqsm.learning.objective import equivariance, without_mean
from jaxqsm.networks import FunctionNetwork, build
from jaxqsm.physics import dipole_field

DATA = DataConfig(shape=16, sources={"head": 1.0}, window=2, reuse=2)
QUIET = dataclasses.replace(
    DATA,
    residual_background=(1e-9, 1e-8),
    field_error=(1e-9, 1e-8),
    variety={"snr": (1e7, 1e8), "interpolated": 0.0, "partial_fourier": 0.0}
    | dict.fromkeys(("microstructure", "exchange", "fibre_anisotropy", "flow"), (0.0, 0.0)),
    faults=dict.fromkeys(FAULTS, 0.0),
    unweighted=0.0,
    cuboids=0.0,
)


@pytest.mark.slow
def test_examples_are_the_field_of_their_truth_whichever_way_they_are_turned():
    examples = SimulatedExamples(QUIET, "inversion", seed=3)
    sizes = set()
    for number in range(4):
        example = examples[number]
        field = dipole_field(example.target, example.geometry, kernel="bandlimited")
        assert relative_error(example.field, field, example.mask & (example.weights > 0.05)) < 1e-3
        sizes.add(tuple(np.round(np.asarray(example.geometry.b0_dir), 4)))
    assert len(sizes) == 4
    again = SimulatedExamples(QUIET, "inversion", seed=3)[2]
    for one, two in zip(jax.tree.leaves(again), jax.tree.leaves(examples[2]), strict=True):
        np.testing.assert_array_equal(one, two)


def _with_fault(name, seed=3):
    """A patch of the quiet data, with that fault for certain."""
    faults = QUIET.faults | {name: 1.0}
    strength = (0.005, 0.00501) if name == "field_error" else QUIET.field_error
    config = dataclasses.replace(QUIET, shape=24, faults=faults, field_error=strength)
    return SimulatedExamples(config, "inversion", seed).make_patch(1)


@pytest.fixture(scope="module")
def quiet_patch():
    return SimulatedExamples(dataclasses.replace(QUIET, shape=24), "inversion", seed=3).make_patch(1)


@pytest.mark.slow
def test_field_errors_are_added_to_the_field(quiet_patch):
    inside = np.asarray(quiet_patch.mask)
    added = np.asarray(_with_fault("field_error").field - quiet_patch.field)[inside]
    assert np.sqrt(np.mean(added**2)) == pytest.approx(0.005, rel=0.01)


@pytest.mark.slow
def test_registration_blurs_the_field_alone(quiet_patch):
    example = _with_fault("registration")
    np.testing.assert_array_equal(example.target, quiet_patch.target)
    rough = [np.abs(np.diff(np.asarray(e.field), axis=0)).mean() for e in (example, quiet_patch)]
    assert rough[0] < 0.95 * rough[1]


@pytest.mark.slow
def test_slices_have_offsets(quiet_patch):
    added = np.asarray(_with_fault("slices").field - quiet_patch.field)
    inside = np.asarray(quiet_patch.mask)
    full = [k for k in range(24) if inside[..., k].sum() > 10]
    assert max(np.ptp(added[..., k][inside[..., k]]) for k in full) < 1e-6
    assert 1e-5 < np.std([added[..., k][inside[..., k]][0] for k in full]) < 0.01


@pytest.mark.slow
def test_distortion_moves_field_and_truth_alike(quiet_patch):
    """So the field is still about that of the truth; kept in place, either would be another's."""
    example = _with_fault("distortion")
    assert relative_error(example.target, quiet_patch.target, quiet_patch.mask) > 0.05
    assert not np.asarray(example.target)[~np.asarray(example.mask)].any()
    alike, apart = (
        relative_error(example.field, dipole_field(e.target, e.geometry, kernel="bandlimited"), example.mask)
        for e in (example, quiet_patch)
    )
    assert 1e-3 < alike < 0.7 * apart


@pytest.mark.slow
def test_masks_are_cut_and_their_truth_with_them():
    cut = [_with_fault("cut_mask", seed) for seed in range(3, 6)]
    whole = [SimulatedExamples(dataclasses.replace(QUIET, shape=24), "inversion", s) for s in range(3, 6)]
    removed = [(w.make_patch(1).mask & ~c.mask).sum() for w, c in zip(whole, cut, strict=True)]
    assert sum(removed) > 0
    for example in cut:
        assert not np.asarray(example.target)[~np.asarray(example.mask)].any()
        field = dipole_field(example.target, example.geometry, kernel="bandlimited")
        assert relative_error(example.field, field, example.mask & (example.weights > 0.05)) < 1e-3


@pytest.mark.slow
def test_brightness_has_edges_that_the_field_does_not_know(quiet_patch):
    example = _with_fault("brightness")
    np.testing.assert_array_equal(example.field, quiet_patch.field)
    inside = np.asarray(quiet_patch.mask) & (np.asarray(quiet_patch.weights) > 0.1)
    assert np.std(np.asarray(example.weights / quiet_patch.weights)[inside]) > 0.01


@pytest.mark.slow
def test_background_is_removed_by_a_method_and_leaves_what_it_leaves(quiet_patch):
    example = _with_fault("background_removal")
    inside = np.asarray(example.mask)
    assert 0 < inside.sum() < np.asarray(quiet_patch.mask).sum()
    assert not np.asarray(example.target)[~inside].any()
    error = relative_error(example.field, quiet_patch.field, inside)
    assert 0.01 < error < 1


def test_unknown_faults_are_refused():
    with pytest.raises(ValueError, match=r"data\.faults has rain; use field_error"):
        SimulatedExamples(dataclasses.replace(DATA, faults={"rain": 0.5}), "inversion", 1)


@pytest.mark.slow
def test_examples_that_are_not_turned_keep_their_geometry():
    fixed = {"tilt": (0.0, 0.0), "voxel_size": (1.0, 1.0), "anisotropy": (2.0, 2.0)}
    examples = SimulatedExamples(dataclasses.replace(DATA, turned=False, variety=fixed), "inversion", seed=3)
    for number in range(3):
        np.testing.assert_allclose(np.abs(examples[number].geometry.b0_dir), [0, 0, 1], atol=1e-6)


@pytest.mark.slow
def test_a_critic_learns_what_truth_looks_like():
    """Its judgement then leads a map towards the truth."""
    rng = np.random.default_rng(0)
    shape = (4, 16, 16, 16)
    mask = jnp.ones(shape, bool)
    real = jnp.sign(jnp.asarray(rng.standard_normal((4, 4, 4, 4)))).repeat(4, 1).repeat(4, 2).repeat(4, 3)
    fake = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    example = Example(field=0.1 * real, target=0.05 * real, mask=mask, weights=mask, geometry=Geometry())
    critic_training = CriticTraining(3e-3, seed=0)
    critic = critic_training.first()
    before = float(
        critic_training.loss(critic, 0.05 * fake, example)
        - critic_training.loss(critic, 0.05 * real, example)
    )
    step = jax.jit(critic_training.step)
    for number in range(40):
        critic = step(critic, 0.05 * fake, example, number)
    gap = float(
        critic_training.loss(critic, 0.05 * fake, example)
        - critic_training.loss(critic, 0.05 * real, example)
    )
    assert gap > before + 0.3
    downhill = -jax.grad(lambda chi: critic_training.loss(critic, chi, example))(0.05 * fake)
    assert float(jnp.vdot(downhill, real - fake)) > 0


@pytest.mark.slow
def test_equivariance_is_less_for_a_network_that_inverts_by_the_right_geometry():
    """While the head turns with its voxels, the field stays."""
    shape = (1, 20, 20, 20)
    chi = 0.1 * jnp.asarray(smooth_blobs(shape[1:], seed=4), jnp.float32)[None]
    mask = jnp.asarray(ball(shape[1:], 8))[None]
    chi = without_mean(chi, mask)
    geometry = jax.tree.map(lambda v: v[None], Geometry((1.0, 1.2, 1.5), (0.0, 0.6, 0.8)))
    example = Example(field=chi, target=chi, mask=mask, weights=mask * 1.0, geometry=geometry)

    def inverse(field, mask, geometry, magnitude):
        one = tikhonov(field[0], mask[0], jax.tree.map(lambda v: v[0], geometry), weight=1e-6)
        return one[None]

    def deaf(field, mask, geometry, magnitude):
        return field

    def wrong(field, mask, geometry, magnitude):
        swapped = jax.vmap(lambda g: Geometry(g.voxel_size, g.b0_dir[::-1]))(geometry)
        return inverse(field, mask, swapped, magnitude)

    right, ignored, mistaken = (
        float(equivariance(FunctionNetwork(n), chi, example)) for n in (inverse, deaf, wrong)
    )
    assert right < 0.7 * ignored
    assert right < 0.8 * mistaken


@pytest.mark.slow
def test_examples_bring_where_a_network_begins():
    """The same as the network finds itself, but for differences that are taken forwards."""
    config = dataclasses.replace(DATA, shape=24)
    network = build("unrolled", {"channels": 8})
    example = SimulatedExamples(config, "inversion", 3, network.start).batch(1)
    start = network.start(example.field, example.mask, example.geometry, example.weights)
    for theirs, own in zip(example.start, start, strict=True):
        assert relative_error(theirs, own, example.mask) < 0.1
    turned = jax.tree.map(lambda leaf: leaf[:, ::-1], example._replace(geometry=None))
    wrong = network.start(turned.field, turned.mask, example.geometry, turned.weights)
    assert relative_error(example.start.smooth, wrong.smooth, example.mask) > 0.3


@pytest.mark.slow
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(tmp_path):
    """With a network that has running statistics and drops channels at random, and a critic."""
    config = TrainingConfig(
        network="lpcnn",
        task="inversion",
        steps=4,
        options={"iterations": 1, "width": 4, "blocks": 1},
        losses={"l1": 1.0, "gradient": 0.1},
        adversarial=0.1,
        data=DATA,
        checkpoint_every=2,
        validate_every=4,
        validation=1,
    )
    whole = list(train(config, tmp_path / "whole"))
    run = train(config, tmp_path / "parts")
    for _ in range(3):
        next(run)
    run.close()
    resumed = list(train(config, tmp_path / "parts"))
    assert [r.step for r in resumed] == [3, 4]
    assert resumed[-1].loss == whole[-1].loss
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])
    line = json.loads((tmp_path / "whole" / "log.jsonl").read_text().splitlines()[-1])
    assert line["validation"] == whole[-1].validation
    assert 0 < line["validation"] < 2
    with pytest.raises(ValueError, match="another configuration"):
        next(train(dataclasses.replace(config, seed=2), tmp_path / "parts"))


DEVICES = """
import os, sys
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=" + sys.argv[1]
from pathlib import Path
import jax
from jaxqsm.learning import read_config, train
assert len(jax.devices()) == int(sys.argv[1])
for report in train(read_config(Path("c.toml")), Path(sys.argv[1])):
    print(report.loss)
"""

SMALL = """
network = "unrolled"
task = "inversion"
steps = 2
validation = 1
options = { channels = 4, memory = 2 }
data = { shape = 16, batch_size = 8, reuse = 8, window = 1, sources = { shapes = 1.0 } }
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        SMALL,
        SMALL.replace("unrolled", "qsmnet").replace("channels = 4, memory = 2", "channels = 4, depth = 1"),
    ],
    ids=["unrolled", "batch normalisation"],
)
def test_eight_devices_train_as_one(tmp_path, network):
    (tmp_path / "c.toml").write_text(network)
    losses = {}
    for count in ("1", "8"):
        command = [sys.executable, "-c", DEVICES, count]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
        losses[count] = [float(line) for line in done.stdout.split()]
    np.testing.assert_allclose(losses["8"], losses["1"], rtol=1e-5)
    one, eight = (load_file(tmp_path / count / "weights.safetensors") for count in losses)
    for name, values in one.items():
        # Normalisation takes a bias before it away: what its optimiser follows is rounding.
        if not name.endswith("convolution.bias"):
            np.testing.assert_allclose(eight[name], values, atol=1e-6, err_msg=name)


def test_losses_measure_what_they_say():
    random = np.random.default_rng(0)
    target = jnp.asarray(random.standard_normal((2, 8, 8, 8)), jnp.float32)
    mask = jnp.ones(target.shape, bool).at[:, :2].set(False)
    for loss in (l1, l2, gradient, edge):
        assert float(loss(target, target, mask)) < 1e-6
        wrong = float(loss(1.5 * target, target, mask))
        assert wrong > 0.1
        assert float(loss(150 * target, 100 * target, mask)) == pytest.approx(wrong, rel=1e-4)
        hidden = target.at[:, 0].add(10.0)
        assert float(loss(hidden, target, mask)) < 1e-6
    assert float(l2(1.5 * target, target, mask)) == pytest.approx(0.5, rel=1e-4)
    assert float(gradient(target + 3, target, mask)) < 1e-5
    assert float(total_variation(jnp.ones_like(target), mask)) == 0
    geometry = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), Geometry(b0_dir=(0.0, 0.6, 0.8)))
    inside = jnp.zeros_like(mask).at[:, 2:6, 2:6, 2:6].set(True)
    chi = target * inside
    field = jax.vmap(dipole_field)(chi, geometry)
    assert float(model(chi, field, inside, geometry)) < 0.1
    assert float(model(0 * chi, field, inside, geometry)) > 0.5


def test_configurations_say_what_is_wrong_with_them(tmp_path):
    path = tmp_path / "c.toml"
    for text, word in [
        ("network = ", "not valid TOML"),
        ('network = "unrolled"\ntask = "inversion"', "steps is missing"),
        ('network = "unrolled"\ntask = "sleep"\nsteps = 3', "task is 'sleep'"),
        ('network = "unrolled"\ntask = "inversion"\nsteps = 3\n[data]\nsize = 3', "data.size is unknown"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=word):
            read_config(path)
