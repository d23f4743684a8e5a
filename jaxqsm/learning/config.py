"""Configuration of a training run, as one value and one TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from jaxqsm.simulation import Variety

CONFIGS = Path(__file__).with_name("configs")
"""Folder of the configurations that come with the package, by name."""

PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
"""Precisions of products, by JAX's names."""

Task = Literal["inversion", "background", "single_step", "denoising", "unwrapping", "separation"]

FAULTS: Mapping[str, float] = MappingProxyType(
    {
        "field_error": 0.5,
        "registration": 0.3,
        "slices": 0.1,
        "distortion": 0.1,
        "cut_mask": 0.3,
        "brightness": 0.5,
        "background_removal": 0.3,
    }
)
"""Faults of real scans in simulated examples, with the probability of each: errors as measured fields have
(:func:`~jaxqsm.simulation.field_errors`), blur by registration, an offset of each slice, distortion along the
phase encoding, voxels of little signal left out of the mask, a magnitude with edges of its own, and, for the
task ``inversion``, a local field that a method of background removal found. What tissue and k-space do is in
:class:`~jaxqsm.simulation.Variety`."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Training data of a network; pairs are bounds between which every example is drawn.

    Attributes:
        shape: edge of the cubic patches, voxels. Default 48.
        batch_size: default 1.
        sources: part of the patches that are cut from heads, and that hold random shapes or noise instead.
        variety: further limits of :class:`~jaxqsm.simulation.Variety`, by name.
        window: patches kept in memory, from which examples are drawn. Default 48.
        reuse: examples made of a patch on average, each turned in its own way. Default 8.
        contrast: factor on χ (and its field, and the background's), evenly in its logarithm.
        residual_background: residual part of the background field, in half of the
            patches.
        field_error: ppm, root mean square of the errors of measured fields that are added
            (:func:`~jaxqsm.simulation.field_errors`), evenly in its logarithm; for the tasks ``inversion``,
            ``background`` and ``single_step``.
        faults: probability of each of :data:`FAULTS`, by name, where it is another than that given there.
        unweighted: part of the patches that come without magnitude. Default 0.2.
        cuboids: part of the patches whose field is that of cuboids at voxel centres, which folds detail finer
            than voxels back. It teaches a network not to trust the finest detail of the field as far as
            the model of the inversion goes. The others' field is band-limited. Default 0.5.
        noise: ppm, standard deviation of what is added to χ for the task ``denoising``, evenly in its
            logarithm.
        scans: folder of scans of one's own to train on in place of simulated ones, as a path beside the
            configuration's; :func:`jaxqsm.io.find_field_scans` says what it holds.
        as_measured: of scans of one's own, part of the patches whose field is the measured one. The others'
            is that of their χ with noise and field errors. Default 0.5.
        held_out: of scans of one's own, part of the subjects that are held out for validation. Default 0.2,
            at least one subject where there are two.
        turned: whether examples have their axes exchanged, and the field's direction with them. Without it
            they are reflected only, and axial scans stay axial. Default true.
    """

    shape: int = 48
    batch_size: int = 1
    sources: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"head": 0.9, "shapes": 0.1})
    variety: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    window: int = 48
    reuse: int = 8
    contrast: tuple[float, float] = (0.5, 2.0)
    residual_background: tuple[float, float] = (0.001, 0.03)
    field_error: tuple[float, float] = (3e-4, 0.012)
    faults: Mapping[str, float] = dataclasses.field(default_factory=dict)
    unweighted: float = 0.2
    noise: tuple[float, float] = (0.002, 0.5)
    cuboids: float = 0.5
    scans: str | None = None
    as_measured: float = 0.5
    held_out: float = 0.2
    turned: bool = True

    @property
    def fault_probabilities(self) -> dict[str, float]:
        """Probability of every fault, by name."""
        return {**FAULTS, **self.faults}


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """One run of training.

    Attributes:
        network: a name of :data:`jaxqsm.networks.NETWORKS`.
        options: of the network's own configuration, by name.
        task: what is learned: ``"inversion"`` (local field to χ), ``"background"`` (total to local field),
            ``"single_step"`` (total field to χ), ``"denoising"`` (χ with white noise to χ), ``"unwrapping"``
            (wrapped to unwrapped phase of one echo) or ``"separation"`` (local field and R2′ to χ⁺ and χ⁻).
        losses: weight of each of :data:`jaxqsm.learning.LOSSES` that is used.
        adversarial: weight of what a critic of the network's outputs says, which is trained beside it
            (:class:`jaxqsm.networks.published.qsmgan.Critic`). Default 0: no critic.
        data: see :class:`DataConfig`.
        steps: of the optimiser.
        learning_rate: at its highest; warms up linearly, then falls as a cosine. Default 1e-3.
        warmup: steps. Default 200.
        weight_decay: of AdamW. Default 1e-4.
        clip: largest norm of a step's gradient. Default 1.
        ema: decay of the average of weights that is kept as the result. Default 0.998.
        precision: of the products of convolutions and matrices, of any network: ``"float32"``,
            ``"tensorfloat32"`` (three passes of bfloat16 on a TPU) or ``"bfloat16"``. Sums, weights and the
            physics of Fourier transforms stay in float32, and a CPU multiplies in float32 always. Default
            ``"tensorfloat32"``.
        seed: of initial weights and data.
        checkpoint_every: steps between checkpoints. Default 200.
        validate_every: steps between validations, of which the best one's weights are the result. Default
            200.
        validation: number of examples held out, from a stream of their own. Default 16; 0 for none, and then
            the last weights are the result.
        start: weights to start from: a name of those that come with the package, such as ``"learned"``, or a
            path (``.safetensors``) beside the configuration's; none by default.
    """

    network: str
    task: Task
    steps: int
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    losses: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"l1": 1.0})
    adversarial: float = 0.0
    data: DataConfig = DataConfig()
    learning_rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.998
    precision: str = "tensorfloat32"
    seed: int = 1
    checkpoint_every: int = 200
    validate_every: int = 200
    validation: int = 16
    start: str | None = None


def read_config(path: Path) -> TrainingConfig:
    """Read a training configuration from TOML.

    Raises:
        ValueError: not TOML, an unknown or missing name, or a value that cannot be; says which.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        values["data"] = _build(DataConfig, values.get("data", {}), "data.")
        config = _build(TrainingConfig, values, "")
        Variety(**_tuples(config.data.variety))
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error
    if config.task not in get_args(Task):
        raise ValueError(f"{path}: task is {config.task!r}; use one of {', '.join(get_args(Task))}")
    if config.precision not in PRECISIONS:
        raise ValueError(f"{path}: precision is {config.precision!r}; use one of {', '.join(PRECISIONS)}")
    if config.steps < 1 or config.data.shape < 8 or config.data.batch_size < 1:
        raise ValueError(f"{path}: steps and data.batch_size need at least 1, data.shape at least 8")
    return config


def _build(kind: type, values: Mapping[str, Any], prefix: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in values:
        if name not in fields:
            raise TypeError(f"{prefix}{name} is unknown; use {', '.join(fields)}")
    missing = [
        name
        for name, field in fields.items()
        if name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise TypeError(f"{prefix}{missing[0]} is missing")
    return kind(**_tuples(values))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
