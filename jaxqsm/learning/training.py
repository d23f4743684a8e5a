"""The training loop: any network, any task; the same result after any interruption."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections import deque
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
from jaxqsm.learning.examples import Example, ExampleStream
from jaxqsm.learning.losses import l2
from jaxqsm.learning.objective import (
    WITHOUT_TARGET,
    network_inputs,
    objective,
    on_valid_voxels,
    without_mean,
)
from jaxqsm.learning.scan_examples import ScanExamples
from jaxqsm.learning.simulated_examples import SimulatedExamples
from jaxqsm.networks import as_network, build, load_network, read_notes, save_weights
from jaxqsm.networks.blocks.layers import share_statistics
from jaxqsm.pretrained import checkpoint_path

RELATIVE = ("inversion", "single_step", "denoising")
"""Tasks whose target is χ, which is known but for a constant."""

AHEAD = 2
"""Batches that are made while the network works."""

WEIGHTS = "weights.safetensors"
"""Name of the file of weights in the folder of a run."""

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
        learning_rate: of the last step.
        validation: of the averaged weights on the held-out examples: NRMSE as a part of 1, or the loss where
            no target is known.
        panels: input, prediction, target and error of one held-out example.
    """

    step: int
    loss: float
    learning_rate: float
    validation: float | None = None
    panels: tuple[np.ndarray, ...] | None = None


def train(
    config: TrainingConfig,
    folder: Path,
    *,
    base: Path = Path(),
    network: Any = None,
    examples: ExampleStream | None = None,
    announce: Callable[[str], None] = lambda text: None,
) -> Iterator[Report]:
    """Train, or go on from the last checkpoint in ``folder``; yields after every step.

    Writes ``checkpoints/`` (Orbax), ``log.jsonl`` and ``weights.safetensors``, the averaged weights of the
    best validation so far. Data depend on the step's number alone, so a run that was killed ends with the
    same weights as one that was not. Batches are split over all devices, each of which works on its own
    examples and shares gradients and means of batch normalisation with the others.

    Args:
        config: of the run.
        folder: of its files.
        base: folder that ``config.start`` and ``config.data.scans`` are relative to.
        network: a network of one's own, with its first weights: a :class:`~jaxqsm.networks.Network`, or any
            Flax NNX module that is called with field, mask, geometry and weights, each with a batch axis.
            Default: that of ``config.network``, which is otherwise only a name.
        examples: a stream of one's own. Default: of ``config.data``.
        announce: called with what is going on where there is no step to show.

    Raises:
        ValueError: the folder holds another run, the batch does not fit the devices, unknown names, scans
            that are missing or at odds, losses that need a target where there is none, or a loss that is not
            finite.

    Example:
        >>> from jaxqsm.learning import DataConfig
        >>> data = DataConfig(scans="cosmos")
        >>> config = TrainingConfig("unrolled", "inversion", steps=2000, start="learned", data=data)
        >>> for report in train(config, Path("run")):  # doctest: +SKIP
        ...     print(report.step, report.loss)
    """
    mesh = Mesh(np.array(jax.devices()), (BATCH,))
    if config.data.batch_size % len(jax.devices()):
        raise ValueError(
            f"data.batch_size {config.data.batch_size} does not divide over {len(jax.devices())} devices"
        )
    _claim(folder, config)
    network = build(config.network, config.options, seed=config.seed) if network is None else network
    network = as_network(network)
    if config.start is not None:
        network, _ = load_network(checkpoint_path(config.start, base), network)
    share_statistics(network, BATCH)
    graph, parameters, others = nnx.split(network, nnx.Param, ...)  # type: ignore[misc]
    optimiser, learning_rate = _optimiser(config)
    average = jax.tree.map(jnp.copy, parameters)  # of its own memory: both are donated
    critic_training = CriticTraining(config.learning_rate, config.seed) if config.adversarial > 0 else None
    critic = None if critic_training is None else critic_training.first()
    state = State(jnp.zeros((), int), parameters, average, optimiser.init(parameters), others, critic)
    state = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    step = _step_function(graph, config, mesh, optimiser, learning_rate, critic_training)
    examples = _stream(config, network.start, base) if examples is None else examples
    needing = set(config.losses) - WITHOUT_TARGET
    if needing and not examples.has_target:
        raise ValueError(f"losses {sorted(needing)} need maps of χ; use {', '.join(sorted(WITHOUT_TARGET))}")
    for note in examples.notes:
        announce(note)
    validate = _validation(graph, config, examples, announce)
    spread = NamedSharding(mesh, PartitionSpec(BATCH))
    options = ocp.CheckpointManagerOptions(max_to_keep=2, save_interval_steps=config.checkpoint_every)
    with ocp.CheckpointManager((folder / "checkpoints").resolve(), options=options) as checkpoints:
        if checkpoints.latest_step() is not None:
            announce(f"going on after step {checkpoints.latest_step()}")
            plain = jax.tree.map(ocp.utils.to_shape_dtype_struct, _plain(state))
            restored = checkpoints.restore(checkpoints.latest_step(), args=ocp.args.StandardRestore(plain))
            state = _restored(state, restored)
        first, best = int(state.step), _best(folder)
        started = time.monotonic()
        announce("compiling, and making the first patches")
        # Losses are read late, so that the device has its next steps before this process waits for one.
        waiting: deque[tuple[int, tuple[Array, Array]]] = deque()
        for number, batch in _ahead(examples, range(first, config.steps)):
            state, told = step(state, jax.device_put(batch, spread))
            done = number + 1
            last = done == config.steps
            waiting.append((done, told))
            validated = validate is not None and (done % config.validate_every == 0 or last)
            saved = done % config.checkpoint_every == 0 or last
            while len(waiting) > (1 if validated or saved else AHEAD):
                yield _report(*waiting.popleft(), folder)
            if not (validated or saved):
                continue
            report = _report(*waiting.popleft(), folder)
            if validated and validate is not None:
                error, panels = validate(state)
                _require_finite(error, "validation", done, folder)
                report = report._replace(validation=error, panels=panels)
                _log(folder, report, time.monotonic() - started)
                if error <= best:
                    best = error
                    _export(folder, config, state, report)
            if saved:
                checkpoints.save(done, args=ocp.args.StandardSave(_plain(state)), force=last)
                if validate is None:
                    _export(folder, config, state, report)
            yield report


def _stream(config: TrainingConfig, start: Callable[..., Any], base: Path) -> ExampleStream:
    if config.data.scans is not None:
        return ScanExamples(config.data, config.task, config.seed, start, base=base)
    return SimulatedExamples(config.data, config.task, config.seed, start)


def _step_function(
    graph: nnx.GraphDef,
    config: TrainingConfig,
    mesh: Mesh,
    optimiser: optax.GradientTransformation,
    learning_rate: optax.Schedule,
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
        with jax.default_matmul_precision(config.precision):
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

    def step(state: State, batch: Example) -> tuple[State, tuple[Array, Array]]:
        """The next state; the loss, and the learning rate."""
        value, gradients, others, output = gradient(state.parameters, state.others, state.critic, batch)
        updates, optimiser_state = optimiser.update(gradients, state.optimiser, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        # Young averages forget faster, or the first steps' weights would stay in them for long.
        decay = jnp.minimum(config.ema, (1 + state.step) / (10 + state.step))
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.average, parameters)
        critic = state.critic
        if critic_training is not None and critic is not None:
            critic = critic_training.step(critic, output, batch, state.step)
        told = value, jnp.asarray(learning_rate(state.step))
        return State(state.step + 1, parameters, average, optimiser_state, others, critic), told

    return jax.jit(step, donate_argnums=0)


def _optimiser(config: TrainingConfig) -> tuple[optax.GradientTransformation, optax.Schedule]:
    warmup = min(config.warmup, config.steps // 2)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, warmup, config.steps, end_value=0.01 * config.learning_rate
    )
    optimiser = optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(schedule, b2=0.99, weight_decay=config.weight_decay),
    )
    return optimiser, schedule


def _validation(
    graph: nnx.GraphDef,
    config: TrainingConfig,
    examples: ExampleStream,
    announce: Callable[[str], None],
) -> Callable[[State], tuple[float, tuple[np.ndarray, ...]]] | None:
    """Function that gives the mean error on the held-out examples, and panels of the first."""
    if config.validation < 1:
        return None
    announce(f"making {config.validation} examples for validation")
    held_out = examples.held_out(config.validation)

    @jax.jit
    def score(average: nnx.State, others: nnx.State, example: Example) -> tuple[Array, Array]:
        network = nnx.merge(graph, average, others)
        network.eval()
        # As it will be used: pretrained networks multiply in float32.
        with jax.default_matmul_precision("float32"):
            if not examples.has_target:
                return objective(network, example, config.losses, centred=False)
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


def _ahead(examples: ExampleStream, numbers: range) -> Iterator[tuple[int, Example]]:
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
    line = {
        "step": report.step,
        "loss": report.loss,
        "learning_rate": report.learning_rate,
        "validation": report.validation,
        "seconds": seconds,
    }
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def _report(step: int, told: tuple[Array, Array], folder: Path) -> Report:
    loss, learning_rate = told
    report = Report(step, float(loss), float(learning_rate))
    _require_finite(report.loss, "loss", step, folder)
    return report


def _require_finite(value: float, what: str, step: int, folder: Path) -> None:
    if not math.isfinite(value):
        raise ValueError(
            f"{folder}: the {what} is not finite at step {step}; use a lower learning_rate or clip in "
            f"another folder ({WEIGHTS}, if there is one, holds the best weights before)"
        )


def _best(folder: Path) -> float:
    """Validation of the weights that an interrupted run has written."""
    path = folder / WEIGHTS
    return float(read_notes(path).get("validation", math.inf)) if path.exists() else math.inf


def _export(folder: Path, config: TrainingConfig, state: State, report: Report) -> None:
    notes = {
        "task": config.task,
        "steps": str(report.step),
        "seed": str(config.seed),
        "training": json.dumps(dataclasses.asdict(config), sort_keys=True),
    }
    if report.validation is not None:
        notes["validation"] = repr(report.validation)
    path = folder / WEIGHTS
    weights = nnx.merge_state(state.average, state.others)
    save_weights(path, config.network, config.options, weights, notes)
