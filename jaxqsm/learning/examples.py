"""Endless examples of a task, made of simulated patches: numbered, so that training can be resumed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.learning.config import DataConfig, Task
from jaxqsm.physics import dipole_field, wrap_phase
from jaxqsm.physics.dipole import Kernel
from jaxqsm.simulation import Patch, Variety, field_errors, patch_stream
from jaxqsm.unwrapping import laplacian
from jaxqsm.variational.common import referenced

Volume = Any
"""An array of NumPy (as made) or JAX (as seen by a network), ``(batch, x, y, z)``."""

HIGHEST_NOISE = 0.3
"""ppm. The field of a voxel without signal is noise of the phase's whole circle, no more."""


HIDDEN = 0.06
"""ppm. Iron and myelin of one voxel, as far as their fields cancel, are at most this strong."""

RELAXATION_NOISE = (0.002, 0.02)
"""ppm. Standard deviation of R2′ over the relaxivity."""


class Example(NamedTuple):
    """Input and target of a network; a batch has a leading axis on every leaf.

    Attributes:
        field: ppm, with noise; local or total field or χ, by the task. For ``unwrapping`` wrapped phase, rad.
        target: ppm; χ or local field, by the task; phase in rad. Zero outside the mask. For ``separation``
            χ⁺ and χ⁻ along a last axis.
        mask: where the field is valid.
        weights: the magnitude (root of the sum of squares over echoes), or the mask where there is none; for
            ``denoising`` one over the standard deviation of the noise, 1/ppm.
        geometry: voxel size and field direction.
        start: volumes in ppm where a network begins, for those that begin at what other methods found; for
            ``separation``, where it does not, R2′ over the relaxivity.
    """

    field: Volume
    target: Volume
    mask: Volume
    weights: Volume
    geometry: Geometry
    start: Any = None


class Examples:
    """The examples of a seed: ``examples[i]`` depends on the configuration, the seed and ``i`` alone.

    A patch is a closed world: its local field is that of the χ within its own mask, on the patch cut out of
    the head. So a network that uses the dipole sees consistent data, as in a whole scan, and needs no
    knowledge of what lies beyond the border. The background's field is that of the whole head.

    Patches have a contrast, residual background and noise of their own. Each example is a patch from a
    sliding window of recent ones, in one of the cube's 48 turns and reflections, or of its 8 reflections.

    Args:
        config: of the data.
        task: what the network is to learn.
        seed: names the stream.
        start: from a batch of field, mask, geometry and weights to where a network begins. It is found once
            for a patch, and turned with it.

    Raises:
        ValueError: unknown kinds of sources, or none.
    """

    def __init__(
        self, config: DataConfig, task: Task, seed: int, start: Callable[..., Any] | None = None
    ) -> None:
        weights = dict(config.sources)
        if not weights or not set(weights) <= {"head", "shapes", "noise"} or sum(weights.values()) <= 0:
            raise ValueError(f"data.sources is {weights}; use parts of head, shapes and noise")
        self._config, self._task, self._seed = config, task, seed
        self._start = None if start is None else jax.jit(start)
        self._kinds = list(weights)
        self._parts = np.array(list(weights.values())) / sum(weights.values())
        limits: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in config.variety.items()
        }
        shape = (config.shape,) * 3
        self._draw = {
            kind: patch_stream(shape, variety=Variety(**(limits | {"source": kind}))) for kind in weights
        }
        self._kept: dict[int, Example] = {}
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
                self._kept[number] = self._patch(number)
            patch = self._kept[number]
        axes = random.permutation(3) if self._config.turned else np.arange(3)
        return _turned(patch, axes, random.random(3) < 0.5)

    def batch(self, index: int) -> Example:
        """Stack the examples from ``index · batch_size`` on."""
        size = self._config.batch_size
        members = [self[index * size + member] for member in range(size)]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *members)

    def _patch(self, number: int) -> Example:
        random = np.random.default_rng([self._seed, number, 1])
        kind = self._kinds[random.choice(len(self._kinds), p=self._parts)]
        key = jax.random.fold_in(jax.random.key(self._seed), number)
        patch = jax.tree.map(lambda leaf: leaf[0], self._draw[kind](key))
        part = _logarithmic(random, self._config.residual_background) if random.random() < 0.5 else 0.0
        contrast = _logarithmic(random, self._config.contrast)
        weighted = random.random() >= self._config.unweighted
        kernel: Kernel = "integrated" if random.random() < self._config.cuboids else "bandlimited"
        key = jax.random.fold_in(key, 1)
        if self._task == "denoising":
            example = _noisy(key, patch, contrast, _logarithmic(random, self._config.noise))
        elif self._task == "unwrapping":
            example = _wrapped(key, patch, contrast, weighted)
        elif self._task == "separation":
            example = _mixed(key, patch, contrast, weighted, _logarithmic(random, RELAXATION_NOISE))
        else:
            error = _logarithmic(random, self._config.field_error) if random.random() < 0.5 else 0.0
            example = _example(key, patch, contrast, part, weighted, error, task=self._task, kernel=kernel)
        if self._start is not None:
            # Where there is a second measurement, such as R2′, the start is made of it too.
            second = () if example.start is None else (example.start,)
            given = (example.field, example.mask, example.geometry, example.weights, *second)
            one = jax.tree.map(lambda leaf: leaf[None], given)
            example = example._replace(start=jax.tree.map(lambda leaf: leaf[0], self._start(*one)))
        return jax.tree.map(np.asarray, example)


@partial(jax.jit, static_argnames=("task", "kernel"))
def _example(
    key: PRNGKeyArray,
    patch: Patch,
    contrast: Volume,
    part: Volume,
    weighted: Volume,
    error: Volume,
    *,
    task: Task,
    kernel: Kernel,
) -> Example:
    mask = patch.mask
    chi = contrast * patch.chi * mask
    local = dipole_field(chi, patch.geometry, kernel=kernel) * mask
    # Only a local field is without most of its background.
    residual_background = part if task == "inversion" else contrast
    background = residual_background * (patch.total_field - patch.local_field) * mask
    of_noise, of_errors = jax.random.split(key)
    noise = _field_noise(patch) * jax.random.normal(of_noise, mask.shape) * mask
    errors = field_errors(chi, mask, patch.geometry, standard_deviation=error, key=of_errors)
    magnitude = jnp.sqrt(jnp.sum(patch.magnitude**2, axis=-1))
    return Example(
        field=local + background + noise + errors,
        target=local if task == "background" else chi,
        mask=mask,
        weights=jnp.where(weighted, magnitude, 1) * mask,
        geometry=Geometry(patch.geometry.voxel_size, patch.geometry.unit_b0_dir),
    )


@jax.jit
def _noisy(key: PRNGKeyArray, patch: Patch, contrast: Volume, noise: Volume) -> Example:
    chi = referenced(contrast * patch.chi, patch.mask)
    return Example(
        field=(chi + noise * jax.random.normal(key, chi.shape)) * patch.mask,
        target=chi,
        mask=patch.mask,
        weights=patch.mask / noise,
        geometry=Geometry(patch.geometry.voxel_size, patch.geometry.unit_b0_dir),
    )


@jax.jit
def _wrapped(key: PRNGKeyArray, patch: Patch, contrast: Volume, weighted: Volume) -> Example:
    """Wrapped phase of the last echo; the true phase's constant is that of least squares."""
    mask, geometry = patch.mask, Geometry(patch.geometry.voxel_size, patch.geometry.unit_b0_dir)
    of_noise, of_offset = jax.random.split(key)
    magnitude = patch.magnitude[..., -1]
    noise = 1 / (patch.snr * jnp.maximum(magnitude, 1e-6))
    true = contrast * patch.total_field * patch.acquisition.phase_per_ppm[-1]
    true = true + jax.random.uniform(of_offset, maxval=2 * jnp.pi)
    noisy = true + jnp.minimum(noise, jnp.pi) * jax.random.normal(of_noise, true.shape)
    wrapped = wrap_phase(noisy) * mask
    away = (laplacian(wrapped, mask, geometry) - true) * mask
    turns = jnp.round(jnp.sum(away) / jnp.maximum(mask.sum(), 1) / (2 * jnp.pi))
    return Example(
        field=wrapped,
        target=(true + 2 * jnp.pi * turns) * mask,
        mask=mask,
        weights=jnp.where(weighted, magnitude, 1) * mask,
        geometry=geometry,
    )


@jax.jit
def _mixed(key: PRNGKeyArray, patch: Patch, contrast: Volume, weighted: Volume, noise: Volume) -> Example:
    """χ of a head as the excess of either source, and more of both, the same, by tissue and place.

    How much goes by the brightness of the tissue, up or down as chance has it, times a slow random field:
    neither χ nor the field tells of it.
    """
    mask, geometry = patch.mask, Geometry(patch.geometry.voxel_size, patch.geometry.unit_b0_dir)
    of_gain, of_place, of_field, of_relaxation = jax.random.split(key, 4)
    chi = contrast * patch.chi * mask
    magnitude = jnp.sqrt(jnp.sum(patch.magnitude**2, axis=-1))
    first = patch.magnitude[..., 0] * mask
    mean = jnp.sum(first) / jnp.maximum(mask.sum(), 1)
    gain, level = jax.random.uniform(of_gain, (2,), minval=-1.0)
    coarse = jax.random.normal(of_place, (4, 4, 4))
    slow = jax.image.resize(coarse, mask.shape, "cubic")
    hidden = HIDDEN * jax.nn.sigmoid(6 * gain * (first / jnp.maximum(mean, 1e-6) - 1) + level + slow)
    positive, negative = (jnp.maximum(sign * chi, 0) + hidden * mask for sign in (1, -1))
    field = dipole_field(chi, patch.geometry) + _field_noise(patch) * jax.random.normal(of_field, mask.shape)
    together = positive + negative + noise * jax.random.normal(of_relaxation, mask.shape)
    return Example(
        field=field * mask,
        target=jnp.stack([positive, -negative], axis=-1),
        mask=mask,
        weights=jnp.where(weighted, magnitude, 1) * mask,
        geometry=geometry,
        start=jnp.maximum(together, 0) * mask,
    )


def _field_noise(patch: Patch) -> Volume:
    """ppm, of a weighted fit of the phase over echoes in every voxel."""
    precision = jnp.sqrt(jnp.sum((patch.magnitude * patch.acquisition.phase_per_ppm) ** 2, axis=-1))
    return jnp.minimum(1 / (patch.snr * jnp.maximum(precision, 1e-6)), HIGHEST_NOISE)


def _turned(example: Example, axes: np.ndarray, flips: np.ndarray) -> Example:
    def turn(volume: np.ndarray) -> np.ndarray:
        order = (*axes, *range(3, volume.ndim))
        return np.ascontiguousarray(np.flip(volume.transpose(order), tuple(np.flatnonzero(flips))))

    geometry = example.geometry
    size, b0_dir = np.asarray(geometry.voxel_size), np.asarray(geometry.b0_dir)
    turned = Geometry(size[axes], b0_dir[axes] * np.where(flips, -1, 1).astype(np.float32))
    return Example(
        field=turn(example.field),
        target=turn(example.target),
        mask=turn(example.mask),
        weights=turn(example.weights),
        geometry=jax.tree.map(np.asarray, turned),
        start=jax.tree.map(turn, example.start),
    )


def _logarithmic(random: np.random.Generator, bounds: tuple[float, float]) -> np.float32:
    return np.float32(np.exp(random.uniform(np.log(bounds[0]), np.log(bounds[1]))))
