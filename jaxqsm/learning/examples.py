"""Endless examples of a task, made of simulated patches: numbered, so that training can be resumed."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxqsm.geometry import Geometry
from jaxqsm.learning.config import DataConfig, Task
from jaxqsm.phantoms import Patch, Variety, patch_stream
from jaxqsm.physics import dipole_field

Volume = Any
"""An array of NumPy (as made) or JAX (as seen by a network), ``(batch, x, y, z)``."""

HIGHEST_NOISE = 0.3
"""ppm. The field of a voxel without signal is noise of the phase's whole circle, no more."""


class Example(NamedTuple):
    """What a network is given and what it should return; a batch has a leading axis on every leaf.

    Attributes:
        field: ppm, with noise; local or total field, by the task.
        target: ppm; χ or local field, by the task. Zero outside the mask.
        mask: where the field is valid.
        magnitude: root of the sum of squares over echoes, or the mask where there is none.
        geometry: voxel size and field direction.
    """

    field: Volume
    target: Volume
    mask: Volume
    magnitude: Volume
    geometry: Geometry


class _Source(NamedTuple):
    """What examples are made of; all volumes on one patch."""

    chi: Volume
    local_field: Volume
    background: Volume
    noise: Volume
    mask: Volume
    magnitude: Volume
    geometry: Geometry


class Examples:
    """The examples of a seed: ``examples[i]`` depends on the configuration, the seed and ``i`` alone.

    A patch is a closed world: its local field is that of the χ within its own mask, on the patch cut out of
    the head. So a network that uses the dipole sees consistent data, as in a whole scan, and needs no
    knowledge of what lies beyond the border. The background's field is that of the whole head.

    Each example is a patch from a sliding window of recent ones, with one of the cube's 48 turns and
    reflections, a contrast, left-over background and noise of its own.

    Args:
        config: of the data.
        task: what the network is to learn.
        seed: names the stream.

    Raises:
        ValueError: unknown kinds of sources, or none.
    """

    def __init__(self, config: DataConfig, task: Task, seed: int) -> None:
        weights = dict(config.sources)
        if not weights or not set(weights) <= {"head", "shapes", "noise"} or sum(weights.values()) <= 0:
            raise ValueError(f"data.sources is {weights}; use parts of head, shapes and noise")
        self._config, self._task, self._seed = config, task, seed
        self._kinds = list(weights)
        self._parts = np.array(list(weights.values())) / sum(weights.values())
        limits: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in config.variety.items()
        }
        shape = (config.shape,) * 3
        self._draw = {
            kind: patch_stream(shape, variety=Variety(**(limits | {"source": kind}))) for kind in weights
        }
        self._kept: dict[int, _Source] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return 2**31 - 1

    def __getitem__(self, index: int) -> Example:
        """The example of that number."""
        random = np.random.default_rng([self._seed, index])
        first = index // self._config.reuse
        number = first + int(random.integers(self._config.window))
        with self._lock:
            for old in [n for n in self._kept if not first <= n < first + 2 * self._config.window]:
                del self._kept[old]
            if number not in self._kept:
                self._kept[number] = self._source(number)
            source = self._kept[number]
        return _example(source, self._config, self._task, random)

    def batch(self, index: int) -> Example:
        """Examples ``index · batch_size`` and on, stacked."""
        size = self._config.batch_size
        members = [self[index * size + member] for member in range(size)]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *members)

    def _source(self, number: int) -> _Source:
        random = np.random.default_rng([self._seed, number, 1])
        kind = self._kinds[random.choice(len(self._kinds), p=self._parts)]
        key = jax.random.fold_in(jax.random.key(self._seed), number)
        patch = jax.tree.map(lambda leaf: leaf[0], self._draw[kind](key))
        return jax.tree.map(np.asarray, _reduced(patch))


@jax.jit
def _reduced(patch: Patch) -> _Source:
    chi = patch.chi * patch.mask
    sensitivity = patch.acquisition.phase_per_ppm
    precision = jnp.sqrt(jnp.sum((patch.magnitude * sensitivity) ** 2, axis=-1))
    noise = 1 / (patch.snr * jnp.maximum(precision, 1e-6))
    return _Source(
        chi=chi,
        local_field=dipole_field(chi, patch.geometry, kernel="bandlimited") * patch.mask,
        background=(patch.total_field - patch.local_field) * patch.mask,
        noise=jnp.minimum(noise, HIGHEST_NOISE) * patch.mask,
        mask=patch.mask,
        magnitude=jnp.sqrt(jnp.sum(patch.magnitude**2, axis=-1)) * patch.mask,
        geometry=Geometry(patch.geometry.voxel_size, patch.geometry.unit_b0_dir),
    )


def _example(source: _Source, config: DataConfig, task: Task, random: np.random.Generator) -> Example:
    contrast = _logarithmic(random, config.contrast)
    leaky = random.random() < 0.5
    part = _logarithmic(random, config.left_over) if leaky else 0.0
    if task != "inversion":
        part = contrast
    local = contrast * source.local_field
    noise = source.noise * random.standard_normal(source.noise.shape, np.float32)
    weighted = random.random() >= config.unweighted
    volumes = (
        local + part * source.background + noise,
        local if task == "background" else contrast * source.chi,
        source.mask,
        source.magnitude if weighted else source.mask.astype(np.float32),
    )
    axes = random.permutation(3)
    flips = random.random(3) < 0.5

    def turned(volume: np.ndarray) -> np.ndarray:
        volume = volume.transpose(axes)
        volume = np.flip(volume, tuple(np.flatnonzero(flips)))
        return np.ascontiguousarray(volume, bool if volume.dtype == bool else np.float32)

    size, b0_dir = np.asarray(source.geometry.voxel_size), np.asarray(source.geometry.b0_dir)
    geometry = Geometry(size[axes], b0_dir[axes] * np.where(flips, -1, 1).astype(np.float32))
    field, target, mask, magnitude = (turned(v) for v in volumes)
    return Example(field, target, mask, magnitude, jax.tree.map(np.asarray, geometry))


def _logarithmic(random: np.random.Generator, bounds: tuple[float, float]) -> np.float32:
    return np.float32(np.exp(random.uniform(np.log(bounds[0]), np.log(bounds[1]))))
