"""Examples of a task, cut from scans of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.io import FieldScan, InputError, find_field_scans, load_field_scan
from jaxqsm.io.field_scans import ENDINGS, Role
from jaxqsm.learning.config import DataConfig, Task
from jaxqsm.learning.examples import Example, ExampleStream, Volume, logarithmic, plain
from jaxqsm.physics import dipole_field, field_noise
from jaxqsm.physics.dipole import Kernel
from jaxqsm.simulation import field_errors
from jaxqsm.tuning.far_sources import field_from_outside, smooth_chi
from jaxqsm.variational.common import data_weights

ROLES: dict[Task, tuple[Role, Role]] = {
    "inversion": ("local_field", "chi"),
    "single_step": ("total_field", "chi"),
    "background": ("total_field", "local_field"),
}
"""Input and target of a network, for tasks whose scans can be measured."""

SCANS_IN_MEMORY = 8
"""Scans that are kept between patches."""

LEAST_WEIGHT = 1e-2
"""Confidence below which noise grows no more, relative to the typical one."""


class Known(NamedTuple):
    """Volumes of one scan, with a margin of zeros where it is smaller than a patch.

    Attributes:
        field: ppm, input of the task.
        chi: ppm; all zero where there is none.
        sources: ppm, χ that makes the field of distant sources: ``chi``, or :func:`smooth_chi` of the field.
        local: ppm, the field of the sources in the mask; all zero where there is none.
        weights: confidence in the field.
        noise: ppm, standard deviation of the field's noise where the weight is 1.
        mask: where they are valid.
        geometry: voxel size and field direction.
    """

    field: Volume
    chi: Volume
    sources: Volume
    local: Volume
    weights: Volume
    noise: Volume
    mask: Volume
    geometry: Geometry


class ScanExamples(ExampleStream):
    """Examples of a task, cut from measured scans: fields with maps of χ, or fields alone.

    A patch is a closed world, as that of :class:`~jaxqsm.learning.SimulatedExamples`. Part of the patches
    (``config.as_measured``) have their field as measured minus that of the sources outside the patch, which
    the map of χ gives, or, where there is none, closed-form inversion of the whole local field. The others,
    of the task ``inversion``, have the field of the patch's own χ, at another contrast and with the noise of
    the scan and ``config.field_error``. Scans of one subject are either trained on or held out for
    validation.

    Args:
        config: of the data; ``config.scans`` is the folder
            (:func:`jaxqsm.io.find_field_scans` says what it holds).
        task: ``"inversion"``, ``"single_step"`` or ``"background"``.
        seed: names the stream.
        start: as :class:`ExampleStream` has it.
        base: folder that ``config.scans`` is relative to.

    Raises:
        ValueError: another task; files that are missing, unreadable or at odds.
    """

    def __init__(
        self,
        config: DataConfig,
        task: Task,
        seed: int,
        start: Callable[..., Any] | None = None,
        *,
        base: Path = Path(),
    ) -> None:
        super().__init__(config, seed, start)
        if task not in ROLES:
            raise ValueError(f"task {task} needs simulated scans; with data.scans use {', '.join(ROLES)}")
        given, learned = ROLES[task]
        folder = base / (config.scans or "")
        scans = find_field_scans(folder, given)
        known = [scan for scan in scans if learned in scan.files]
        if known and len(known) < len(scans):
            missing = next(scan for scan in scans if learned not in scan.files)
            raise InputError(
                f"{missing.name}: has no {learned.replace('_', ' ')}, which other scans of {folder} have; "
                "add it, or move the scan to another folder"
            )
        if not known and task != "inversion":
            ending = ENDINGS[learned][0]
            raise InputError(
                f"{folder}: task {task} needs files that end in {ending}.nii.gz, and there is none"
            )
        self.has_target = bool(known)
        self._task = task
        self._scans, self._held_out = _split(scans, config.held_out)
        self.notes = _described(self._scans, self._held_out, self.has_target)

    def held_out(self, count: int) -> list[Example]:
        """Cut patches, as measured, from the subjects that are not trained on."""
        stream = self.of_others(as_measured=1.0, turned=False, unweighted=0.0)
        stream._scans = self._held_out
        return [stream.batch(number) for number in range(count)]

    def make_patch(self, number: int) -> Example:
        """Cut the patch of that number."""
        random = np.random.default_rng([self.seed, number, 1])
        scan = self._scans[int(random.integers(len(self._scans)))]
        known, inside = _loaded(scan, self._task, self.config.shape)
        corner = _corner(random, inside, known.mask.shape, self.config.shape)
        as_measured = random.random() < self.config.as_measured
        as_measured |= self._task != "inversion" or not self.has_target
        contrast = logarithmic(random, self.config.contrast)
        weighted = random.random() >= self.config.unweighted
        kernel: Kernel = "integrated" if random.random() < self.config.cuboids else "bandlimited"
        likely = self.config.fault_probabilities["field_error"]
        error = logarithmic(random, self.config.field_error) if random.random() < likely else 0.0
        size = self.config.shape
        if as_measured:
            example = _measured(known, corner, task=self._task, size=size)
        else:
            key = jax.random.fold_in(jax.random.key(self.seed), number)
            example = _made(key, known, corner, contrast, error, size=size, kernel=kernel)
        return example if weighted else example._replace(weights=example.mask.astype(jnp.float32))


@lru_cache(SCANS_IN_MEMORY)
def _load(task: Task, size: int, *files: tuple[Role, Path]) -> tuple[Known, np.ndarray]:
    given, _ = ROLES[task]
    volumes, mask, geometry = load_field_scan(FieldScan("", str(files[0][1].parent), dict(files)))
    margins = [(0, max(size - n, 0)) for n in mask.shape]
    nothing = np.zeros(mask.shape, np.float32)
    each = (volumes.get(role, nothing) for role in (given, "chi", "local_field"))
    field, chi, local, weights, inside = (
        jnp.asarray(np.pad(volume, margins)) for volume in (*each, volumes.get("magnitude", mask * 1.0), mask)
    )
    weights = data_weights(inside, weights)
    noise = field_noise(field, weights, inside)
    no_chi = field if task == "inversion" else local
    sources = chi if "chi" in volumes else smooth_chi(no_chi, inside, geometry)
    return Known(field, chi, sources, local, weights, noise, inside, geometry), np.argwhere(mask)


def _loaded(scan: FieldScan, task: Task, size: int) -> tuple[Known, np.ndarray]:
    """Volumes of a scan, and the voxels of its mask."""
    return _load(task, size, *scan.files.items())


def _corner(
    random: np.random.Generator, inside: np.ndarray, shape: tuple[int, ...], size: int
) -> tuple[int, ...]:
    """First voxel of a patch about a voxel of the mask."""
    centre = inside[random.integers(len(inside))]
    shift = random.integers(-(size // 4), size // 4 + 1, 3)
    return tuple(int(v) for v in np.clip(centre + shift - size // 2, 0, np.array(shape) - size))


@partial(jax.jit, static_argnames=("task", "size"))
def _measured(known: Known, corner: tuple[int, ...], *, task: Task, size: int) -> Example:
    box = (size, size, size)
    far = field_from_outside(known.sources, corner, box, known.geometry)
    field, local, chi, weights, mask = _cut(known, corner, box, far)
    return Example(field, local if task == "background" else chi, mask, weights, plain(known.geometry))


@partial(jax.jit, static_argnames=("size", "kernel"))
def _made(
    key: PRNGKeyArray,
    known: Known,
    corner: tuple[int, ...],
    contrast: Volume,
    error: Volume,
    *,
    size: int,
    kernel: Kernel,
) -> Example:
    _, _, chi, weights, mask = _cut(known, corner, (size, size, size), jnp.zeros_like(known.field))
    chi = contrast * chi
    of_noise, of_errors = jax.random.split(key)
    noise = known.noise / jnp.maximum(weights, LEAST_WEIGHT) * jax.random.normal(of_noise, mask.shape)
    errors = field_errors(chi, mask, known.geometry, standard_deviation=error, key=of_errors)
    field = (dipole_field(chi, known.geometry, kernel=kernel) + noise) * mask + errors
    return Example(field, chi, mask, weights, plain(known.geometry))


def _cut(
    known: Known, corner: tuple[int, ...], box: tuple[int, int, int], far: Volume
) -> tuple[Volume, Volume, Volume, Volume, Volume]:
    """Field and local field without that of far sources, χ, weights and mask of a patch."""
    volumes = known.field - far, known.local - far, known.chi, known.weights, known.mask
    field, local, chi, weights, mask = (jax.lax.dynamic_slice(v, corner, box) for v in volumes)
    return field * mask, local * mask, chi * mask, weights * mask, mask


def _split(scans: Sequence[FieldScan], part: float) -> tuple[list[FieldScan], list[FieldScan]]:
    """Scans to train on and held-out ones, no subject in both; a single subject is in both."""
    subjects = sorted({scan.subject for scan in scans})
    count = min(max(round(part * len(subjects)), 1), len(subjects) - 1)
    # Evenly over the sorted names, so that sites or groups that are named alike are all held out from.
    chosen = {subjects[int((n + 0.5) * len(subjects) / count)] for n in range(count)}
    if not chosen:
        return list(scans), list(scans)
    return [s for s in scans if s.subject not in chosen], [s for s in scans if s.subject in chosen]


def _described(
    scans: Sequence[FieldScan], held_out: Sequence[FieldScan], has_target: bool
) -> tuple[str, ...]:
    subjects = sorted({scan.subject for scan in scans})
    apart = sorted({scan.subject for scan in held_out})
    validated = "validated on the same" if apart == subjects else f"validated on {', '.join(apart)}"
    targets = () if has_target else ("fields alone: losses and validation compare with the field",)
    return (f"{len(scans)} scans of {len(subjects)} subjects; {validated}", *targets)
