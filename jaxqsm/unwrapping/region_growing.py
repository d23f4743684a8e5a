"""Multiples of 2π along the surest edges between voxels, by the algorithm that is fastest on the device."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numba
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from jaxqsm.operators.on_host import host_on_cpu
from jaxqsm.operators.spanning_forest import NONE, Forest, spanning_forest

LEVELS = 255
"""Costs of edges are whole numbers from 1 (certain) to this (worst)."""


def grow_regions(phase: Float[Array, "x y z"], costs: Int[Array, "3 x y z"]) -> Forest:
    """Count multiples of 2π along the cheapest edges that join all voxels.

    A queue of edges by cost, one voxel after another, on the CPU: a compiled loop, and a host callback under
    ``jit`` and ``vmap``. On other devices :func:`~jaxqsm.operators.spanning_forest.spanning_forest`. Both
    find the same forest but for edges of equal cost.

    Args:
        phase: rad.
        costs: of the edge from each voxel to the next along each axis: 1 to :data:`LEVELS`;
            :data:`~jaxqsm.operators.spanning_forest.NONE` where there is none.
    """
    kind: Any = jax.ShapeDtypeStruct(phase.shape, jnp.int32)
    return Forest(*host_on_cpu(_grow_on_host, spanning_forest, Forest(kind, kind), phase, costs))


def _grow_on_host(phase: ArrayLike, costs: ArrayLike) -> Forest:
    given = np.asarray(costs)
    levels = np.where(given == NONE, 0, given).astype(np.uint8)
    # The seed is a voxel with certain edges all around.
    quality = np.where(levels > 0, LEVELS + 1 - levels.astype(np.int32), 0).sum(axis=0)
    # One empty border layer spares the growing loop all bounds checks.
    padded = np.pad(np.asarray(phase, np.float32), 1)
    index = np.arange(padded.size, dtype=np.int64).reshape(padded.shape)[1:-1, 1:-1, 1:-1].ravel()
    turns, part = np.zeros(padded.size, np.int32), np.zeros(padded.size, np.int32)
    part[index] = np.arange(index.size)
    _grow()(
        padded.ravel(),
        np.stack([np.pad(c, 1).ravel() for c in levels]),
        np.array(padded.strides) // padded.itemsize,
        np.concatenate([index[np.argmax(quality)][None], index[quality.ravel() > 0]]),
        turns,
        part,
    )
    found: list[Any] = [v.reshape(padded.shape)[1:-1, 1:-1, 1:-1].copy() for v in (turns, part)]
    return Forest(*found)


@cache
def _grow() -> Callable[..., None]:
    """The loop, compiled at its first use; kept on disk where there is a place that can be written."""
    try:
        return numba.njit(cache=True)(_grow_loop)
    except RuntimeError:
        return numba.njit(_grow_loop)


def _grow_loop(phase, costs, strides, seeds, turns, part):
    """Bucket-queue region growing on flat, border-padded arrays; fills ``turns`` and ``part`` in place."""
    voxels = phase.size
    visited = np.zeros(voxels, np.bool_)
    # A stack of edges per cost, as linked lists: edge number = axis * voxels + lower voxel.
    top = np.full(256, -1, np.int64)
    below = np.full(3 * voxels, -1, np.int64)
    queued = np.zeros(3 * voxels, np.bool_)
    for seed in seeds:
        if visited[seed]:
            continue
        visited[seed] = True
        reached = seed
        lowest = 256
        while True:
            for axis in range(3):
                for lower in (reached, reached - strides[axis]):
                    edge = axis * voxels + lower
                    cost = costs[axis, lower]
                    if cost > 0 and not queued[edge]:
                        queued[edge] = True
                        below[edge] = top[cost]
                        top[cost] = edge
                        lowest = min(lowest, cost)
            reached = -1
            while lowest < 256 and reached < 0:
                edge = top[lowest]
                if edge < 0:
                    lowest += 1
                    continue
                top[lowest] = below[edge]
                axis = edge // voxels
                lower = edge - axis * voxels
                upper = lower + strides[axis]
                if visited[lower] and visited[upper]:
                    continue
                old, new = (lower, upper) if visited[lower] else (upper, lower)
                gap = phase[old] - phase[new]
                turns[new] = turns[old] + np.int32(np.rint(gap / (2 * np.pi)))
                part[new] = part[seed]
                visited[new] = True
                reached = new
            if reached < 0:
                break
