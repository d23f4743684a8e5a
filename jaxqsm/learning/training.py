"""The training loop: any network, any task; the same result after any interruption."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from jaxqsm.learning.adversarial import CriticState, CriticTraining
from jaxqsm.learning.config import TrainingConfig
from jaxqsm.learning.examples import Example, Examples
from jaxqsm.learning.losses import l2
from jaxqsm.learning.objective import network_inputs, objective, on_valid_voxels, without_mean
from jaxqsm.networks import build, load_network, save_weights
from jaxqsm.networks.blocks.layers import share_statistics

VALIDATION_SEED = 10_000_019
"""Added to a run's seed: the stream that validation draws from and training does not."""

RELATIVE = ("inversion", "single_step", "denoising")
"""Tasks whose target is χ, which is known but for a constant."""

AHEAD = 2
"""Batches that are made while the network works."""

BATCH = "batch"
"""Axis of the devices that batches are split over."""


class State(NamedTuple):
    """All that changes from step to step.

    ``others`` is what layers keep for themselves (running means); ``critic`` is None without a critic.
    """

    step: Array
    parameters: nnx.State
    average: nnx.State
    optimiser: optax.OptState
    others: nnx.State
    critic: CriticState | None = None


class Report(NamedTuple):
    """Progress after a training step; validation only where there was one.

    Attributes:
        step: steps done.
        loss: of the last step.
        validation: NRMSE, as a part of 1, of the averaged weights on the held-out examples.
        panels: input, prediction, target and error of one held-out example.
    """

    step: int
    loss: float
    validation: float | None = None
    panels: tuple[np.ndarray, ...] | None = None


def train(
    config: TrainingConfig,
    folder: Path,
    *,
    base: Path = Path(),
    announce: Callable[[str], None] = lambda text: None,
) -> Iterator[Report]:
    """Train, or go on from the last checkpoint in ``folder``; yields after every step.

    Writes ``checkpoints/`` (Orbax), ``log.jsonl`` and, at the end and at each checkpoint,
    ``weights.safetensors`` (the averaged weights). Data depend on the step's number alone, so a run that was
    killed ends with the same weights as one that was not. Batches are split over all devices, each of which
    works on its own examples and shares gradients and means of batch normalisation with the others.

    Args:
        config: of the run.
        folder: of its files.
        base: folder that ``config.start`` is relative to.
        announce: called with what is going on where there is no step to show.

    Raises:
        ValueError: the folder holds another run, the batch does not fit the devices, unknown names.
    """
    mesh = Mesh(np.array(jax.devices()), (BATCH,))
    if config.data.batch_size % len(jax.devices()):
        raise ValueError(
            f"data.batch_size {config.data.batch_size} does not divide over {len(jax.devices())} devices"
        )
    _claim(folder, config)
    network = build(config.network, config.options, seed=config.seed)
    if config.start is not None:
        network, _ = load_network(base / config.start)
    share_statistics(network, BATCH)
    graph, parameters, others = nnx.split(network, nnx.Param, ...)  # type: ignore[misc]
    optimiser = _optimiser(config)
    average = jax.tree.map(jnp.copy, parameters)  # of its own memory: both are donated
    critic_training = CriticTraining(config.learning_rate, config.seed) if config.adversarial > 0 else None
    critic = None if critic_training is None else critic_training.first()
    state = State(jnp.zeros((), int), parameters, average, optimiser.init(parameters), others, critic)
    state = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    step = _step_function(graph, config, mesh, optimiser, critic_training)
    start = network.start
    validate = _validation(graph, config, start, announce)
    examples = Examples(config.data, config.task, config.seed, start)
    spread = NamedSharding(mesh, PartitionSpec(BATCH))
    options = ocp.CheckpointManagerOptions(max_to_keep=2, save_interval_steps=config.checkpoint_every)
    with ocp.CheckpointManager((folder / "checkpoints").resolve(), options=options) as checkpoints:
        if checkpoints.latest_step() is not None:
            announce(f"going on after step {checkpoints.latest_step()}")
            plain = jax.tree.map(ocp.utils.to_shape_dtype_struct, _plain(state))
            restored = checkpoints.restore(checkpoints.latest_step(), args=ocp.args.StandardRestore(plain))
            state = _restored(state, restored)
        first = int(state.step)
        started = time.monotonic()
        announce("compiling, and making the first patches")
        for number, batch in _ahead(examples, range(first, config.steps)):
            state, loss = step(state, jax.device_put(batch, spread))
            done = number + 1
            last = done == config.steps
            report = Report(done, float(loss))
            if done % config.validate_every == 0 or last:
                error, panels = validate(state)
                report = report._replace(validation=error, panels=panels)
                _log(folder, report, time.monotonic() - started)
            if done % config.checkpoint_every == 0 or last:
                checkpoints.save(done, args=ocp.args.StandardSave(_plain(state)), force=last)
                _export(folder, config, state, report)
            yield report


def _step_function(
    graph: nnx.GraphDef,
    config: TrainingConfig,
    mesh: Mesh,
    optimiser: optax.GradientTransformation,
    critic_training: CriticTraining | None,
):
    centred = config.task in RELATIVE

    def loss(
        parameters: nnx.State, others: nnx.State, critic: CriticState | None, batch: Example
    ) -> tuple[Array, tuple[nnx.State, Array]]:
        # A copy: what layers change (running means) must be of this trace.
        network = nnx.merge(graph, parameters, others, copy=True)
        network.train()
        value, output = objective(network, batch, config.losses, centred=centred)
        if critic_training is not None and critic is not None:
            value = value + config.adversarial * critic_training.loss(critic, output, batch)
        return value, (nnx.state(network, nnx.Not(nnx.Param)), output)

    def gradient(
        parameters: nnx.State, others: nnx.State, critic: CriticState | None, batch: Example
    ) -> tuple[Array, nnx.State, nnx.State, Array]:
        (value, (others, output)), gradients = jax.value_and_grad(loss, has_aux=True)(
            parameters, others, critic, batch
        )
        # Losses are means over examples, so the mean over devices is that of the whole batch.
        value, gradients = jax.lax.pmean((value, gradients), BATCH)
        return value, gradients, others, output

    # Left to itself the compiler gathers a batch on every device before each FFT.
    everywhere, spread = PartitionSpec(), PartitionSpec(BATCH)
    gradient = jax.shard_map(
        gradient,
        mesh=mesh,
        in_specs=(everywhere, everywhere, everywhere, spread),
        out_specs=(everywhere, everywhere, everywhere, spread),
        check_vma=False,
    )

    def step(state: State, batch: Example) -> tuple[State, Array]:
        value, gradients, others, output = gradient(state.parameters, state.others, state.critic, batch)
        updates, optimiser_state = optimiser.update(gradients, state.optimiser, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        # Young averages forget faster, or the first steps' weights would stay in them for long.
        decay = jnp.minimum(config.ema, (1 + state.step) / (10 + state.step))
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.average, parameters)
        critic = state.critic
        if critic_training is not None and critic is not None:
            critic = critic_training.step(critic, output, batch, state.step)
        return State(state.step + 1, parameters, average, optimiser_state, others, critic), value

    return jax.jit(step, donate_argnums=0)


def _optimiser(config: TrainingConfig) -> optax.GradientTransformation:
    warmup = min(config.warmup, config.steps // 2)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, warmup, config.steps, end_value=0.01 * config.learning_rate
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(schedule, b2=0.99, weight_decay=config.weight_decay),
    )


def _validation(
    graph: nnx.GraphDef,
    config: TrainingConfig,
    start: Callable[..., Any] | None,
    announce: Callable[[str], None],
) -> Callable[[State], tuple[float, tuple[np.ndarray, ...]]]:
    """Function that gives the mean NRMSE on the held-out examples, and panels of the first."""
    announce(f"making {config.validation} examples for validation")
    single = dataclasses.replace(config.data, batch_size=1, reuse=1, window=1)
    examples = Examples(single, config.task, config.seed + VALIDATION_SEED, start)
    held_out = [examples.batch(number) for number in range(config.validation)]

    @jax.jit
    def score(average: nnx.State, others: nnx.State, example: Example) -> tuple[Array, Array]:
        network = nnx.merge(graph, average, others)
        network.eval()
        out = network(*network_inputs(example))
        example = on_valid_voxels(network, example)
        target = example.target
        if config.task in RELATIVE:
            out, target = (without_mean(v, example.mask) for v in (out, target))
        if out.ndim == 4:
            return l2(out, target, example.mask), out
        parts = jax.vmap(lambda o, t: l2(o, t, example.mask), -1)(out, target)
        return jnp.mean(parts), out[..., 0]

    def validate(state: State) -> tuple[float, tuple[np.ndarray, ...]]:
        scored = [score(state.average, state.others, example) for example in held_out]
        first, out = held_out[0], np.asarray(scored[0][1])[0]
        target = first.target[0].reshape(*first.field.shape[1:], -1)[..., 0]
        volumes = (first.field[0], out, target, out - target)
        middle = first.field.shape[3] // 2
        panels = tuple(np.asarray(v)[..., middle] for v in volumes)
        return float(np.mean([float(value) for value, _ in scored])), panels

    return validate


def _ahead(examples: Examples, numbers: range) -> Iterator[tuple[int, Example]]:
    """Batches by number, the next ones being made in a thread."""
    with ThreadPoolExecutor(1) as pool:
        waiting: list[tuple[int, Future[Example]]] = []
        for number in numbers:
            waiting.append((number, pool.submit(examples.batch, number)))
            if len(waiting) > AHEAD:
                ready, future = waiting.pop(0)
                yield ready, future.result()
        for ready, future in waiting:
            yield ready, future.result()


def _plain(state: State) -> dict[str, Any]:
    """The state as numbered plain arrays, so that a checkpoint does not depend on the types of NNX."""
    leaves = [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in jax.tree.leaves(state)]
    return {f"{number:04d}": leaf for number, leaf in enumerate(leaves)}


def _restored(like: State, plain: dict[str, Any]) -> State:
    leaves, structure = jax.tree.flatten(like)
    values = [
        jax.random.wrap_key_data(plain[name]) if _is_key(leaf) else plain[name]
        for leaf, name in zip(leaves, sorted(plain), strict=True)
    ]
    return jax.tree.unflatten(structure, values)


def _is_key(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _claim(folder: Path, config: TrainingConfig) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = json.dumps(dataclasses.asdict(config), sort_keys=True, indent=1)
    path = folder / "config.json"
    if path.exists() and path.read_text(encoding="utf-8") != record:
        raise ValueError(f"{folder}: holds a run of another configuration; choose another folder")
    path.write_text(record, encoding="utf-8")


def _log(folder: Path, report: Report, seconds: float) -> None:
    line = {"step": report.step, "loss": report.loss, "nrmse": report.validation, "seconds": seconds}
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def _export(folder: Path, config: TrainingConfig, state: State, report: Report) -> None:
    notes = {
        "task": config.task,
        "steps": str(report.step),
        "seed": str(config.seed),
        "training": json.dumps(dataclasses.asdict(config), sort_keys=True),
    }
    path = folder / "weights.safetensors"
    weights = nnx.merge_state(state.average, state.others)
    save_weights(path, config.network, config.options, weights, notes)
