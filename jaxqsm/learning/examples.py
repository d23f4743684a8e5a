"""Endless streams of numbered examples, so that training can be resumed."""

from __future__ import annotations

import copy
import dataclasses
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jaxqsm.geometry import Geometry
from jaxqsm.learning.config import DataConfig

Volume = Any
"""An array of JAX, ``(x, y, z)`` or with a batch axis before them."""

VALIDATION_SEED = 10_000_019
"""Added to a run's seed: the stream that validation draws from and training does not."""


class Example(NamedTuple):
    """Input and target of a network; a batch has a leading axis on every leaf.

    Attributes:
        field: ppm, with noise; local or total field or χ, by the task. For ``unwrapping`` wrapped phase, rad.
        target: ppm; χ or local field, by the task; phase in rad. Zero outside the mask, and everywhere where
            it is unknown. For ``separation`` χ⁺ and χ⁻ along a last axis.
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


class ExampleStream(ABC):
    """The examples of a seed: ``stream[i]`` depends on the configuration, the seed and ``i`` alone.

    Each example is a patch from a sliding window of recent ones, in one of the cube's 48 turns and
    reflections, or of its 8 reflections. A stream of one's own says how patches are made
    (:meth:`make_patch`), and which examples are held out from it (:meth:`held_out`).

    Args:
        config: of the data.
        seed: names the stream.
        start: from a batch of field, mask, geometry and weights to where a network begins
            (:meth:`jaxqsm.networks.Network.start`). It is found once for a patch, and turned with it.

    Attributes:
        has_target: whether the target is known. Without, losses and validation compare with the field.
        notes: what is worth saying of the data before training begins, one sentence each.
    """

    has_target: bool = True
    notes: tuple[str, ...] = ()

    def __init__(self, config: DataConfig, seed: int, start: Callable[..., Any] | None = None) -> None:
        self.config, self.seed = config, seed
        self._start = None if start is None else jax.jit(start)
        self._kept: dict[int, Example] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def make_patch(self, number: int) -> Example:
        """Make the patch of that number, without a start (or with a second measurement in its place)."""

    @abstractmethod
    def held_out(self, count: int) -> list[Example]:
        """Make that many batches of one example for validation, which the stream has none of."""

    def __len__(self) -> int:
        return 2**31 - 1

    def __getitem__(self, index: int) -> Example:
        """The example of that number."""
        random = np.random.default_rng([self.seed, index])
        first = index // self.config.reuse
        number = first + int(random.integers(self.config.window))
        with self._lock:
            for old in [n for n in self._kept if not first <= n < first + 2 * self.config.window]:
                del self._kept[old]
            if number not in self._kept:
                self._kept[number] = self._started(self.make_patch(number))
            patch = self._kept[number]
        axes = random.permutation(3) if self.config.turned else np.arange(3)
        return turned(patch, tuple(int(axis) for axis in axes), random.random(3) < 0.5)

    def batch(self, index: int) -> Example:
        """Stack the examples from ``index · batch_size`` on."""
        size = self.config.batch_size
        return _stacked(*(self[index * size + member] for member in range(size)))

    def of_others(self, **changes: Any) -> Self:
        """Make a stream of single examples of another seed, such as are held out, with a changed config."""
        other = copy.copy(self)
        other.config = dataclasses.replace(self.config, batch_size=1, reuse=1, window=1, **changes)
        other.seed = self.seed + VALIDATION_SEED
        other._kept = {}
        return other

    def _started(self, example: Example) -> Example:
        if self._start is None:
            return example
        # Where there is a second measurement, such as R2′, the start is made of it too.
        second = () if example.start is None else (example.start,)
        given = (example.field, example.mask, example.geometry, example.weights, *second)
        one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], given)
        return example._replace(start=jax.tree.map(lambda leaf: leaf[0], self._start(*one)))


# Examples stay on the device that made them: a round trip to the host takes longer than a step of training.


@partial(jax.jit, static_argnums=1)
def turned(example: Example, axes: tuple[int, ...], flips: Bool[Array, 3]) -> Example:
    """Permute and reflect the axes of an example, and the direction of its field with them."""

    def turn(volume: Array) -> Array:
        volume = jnp.transpose(volume, (*axes, *range(3, volume.ndim)))
        for axis in range(3):
            volume = jnp.where(flips[axis], jnp.flip(volume, axis), volume)
        return volume

    geometry, order = example.geometry, jnp.array(axes)
    signs = jnp.where(flips, -1.0, 1.0)
    return Example(
        field=turn(example.field),
        target=turn(example.target),
        mask=turn(example.mask),
        weights=turn(example.weights),
        geometry=Geometry(geometry.voxel_size[order], geometry.b0_dir[order] * signs),
        start=jax.tree.map(turn, example.start),
    )


@jax.jit
def _stacked(*examples: Example) -> Example:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *examples)


def plain(geometry: Geometry) -> Geometry:
    """Make a geometry of voxel size and unit direction alone, as every example has it."""
    return Geometry(geometry.voxel_size, geometry.unit_b0_dir)


def logarithmic(random: np.random.Generator, bounds: tuple[float, float]) -> np.float32:
    """Draw a number between bounds, evenly in its logarithm."""
    return np.float32(np.exp(random.uniform(np.log(bounds[0]), np.log(bounds[1]))))
