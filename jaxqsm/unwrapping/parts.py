"""Sums and medians over the parts of a mask, whose number is not known beforehand."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxqsm.operators.spanning_forest import Forest

RUN = 64
"""Voxels of one part that are summed at once: float32 loses small numbers that are added one by one."""


class Parts(NamedTuple):
    """Parts of a mask that hang together by faces.

    Numbers of the parts are kept in arrays as long as the volume, each at its part's own voxel: so shapes are
    static.

    Attributes:
        label: flat index of a voxel of the part, the same for all of it.
        mask: voxels that count.
    """

    label: Int[Array, " voxel"]
    mask: Bool[Array, " voxel"]

    @classmethod
    def of(cls, forest: Forest, mask: Bool[Array, "x y z"]) -> Parts:
        """Take the parts that a forest has found."""
        return cls(forest.part.ravel(), mask.ravel())

    @property
    def own(self) -> Bool[Array, " voxel"]:
        """Mark the one voxel of each part that has its number."""
        return self.mask & (self.label == jnp.arange(self.label.size))

    def sum(self, values: Array) -> Array:
        """Sum values over each part."""
        inside = jnp.where(self.mask, values.ravel(), 0)
        runs, labels = (jnp.pad(v, (0, -v.size % RUN)).reshape(-1, RUN) for v in (inside, self.label))
        first = labels[:, 0]
        alike = labels == first[:, None]
        sums = jnp.zeros_like(inside).at[first].add(jnp.sum(jnp.where(alike, runs, 0), axis=1))
        return sums.at[labels.ravel()].add(jnp.where(alike, 0, runs).ravel())

    def spread(self, numbers: Array) -> Array:
        """Give every voxel the number of its part, and 0 outside."""
        return jnp.where(self.mask, numbers[self.label], 0)

    def median(self, numbers: Int[Array, " voxel"]) -> Int[Array, " voxel"]:
        """Find the lower median of whole numbers over each part, by halving the range that holds it."""
        count = self.sum(self.mask.astype(jnp.int32))
        inside = jnp.where(self.mask, numbers.ravel(), 0)

        def halve(bounds: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bounds
            middle = (low + high) // 2
            below = self.sum((inside <= middle[self.label]).astype(jnp.int32))
            enough = 2 * below >= count
            return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

        bounds = (jnp.full_like(inside, inside.min()), jnp.full_like(inside, inside.max()))
        low, _ = jax.lax.while_loop(lambda bounds: jnp.any(bounds[0] < bounds[1]), halve, bounds)
        return low


def centred_turns(
    phase: Float[Array, "x y z"], mask: Bool[Array, "x y z"], forest: Forest
) -> Int[Array, "x y z"]:
    """Count the turns of a forest that bring the median phase of each part nearest to zero."""
    parts = Parts.of(forest, mask)
    nearest = jnp.rint(phase / (2 * jnp.pi)).astype(jnp.int32) + forest.turns
    return forest.turns - parts.spread(parts.median(nearest.ravel())).reshape(mask.shape)
