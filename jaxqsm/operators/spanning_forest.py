"""Multiples of 2π along the surest edges between voxels: the minimum spanning forest, grown in parallel."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

NONE = 2**31 - 1
"""Cost of an edge that is not there, and the number of no edge."""


class Forest(NamedTuple):
    """Turns of every voxel along the forest, and the part that it belongs to.

    Attributes:
        turns: multiples of 2π that make the phase of all voxels of a part agree with its first voxel's.
        part: flat index of a voxel of the part, the same for all of it; the voxel's own outside the mask.
    """

    turns: Int[Array, "x y z"]
    part: Int[Array, "x y z"]


class _State(NamedTuple):
    turns: Int[Array, " voxel"]
    part: Int[Array, " voxel"]
    growing: Bool[Array, ""]


def spanning_forest(
    phase: Float[Array, "x y z"],
    costs: Int[Array, "3 x y z"],
    *,
    depths: Int[Array, "x y z"] | None = None,
    ascent: int = NONE,
) -> Forest:
    """Join neighbours along the edges of least cost that join all, and count the turns between them.

    Growing a region over its cheapest edge, voxel by voxel, builds the minimum spanning tree (Prim). Here all
    parts grow at once (Borůvka): in each round every part joins its neighbour over its own cheapest edge, so
    that their number at least halves. The tree is the same where no two edges cost the same; of equal ones
    that of the lower number is taken.

    Args:
        phase: rad.
        costs: whole numbers, of the edge from each voxel to the next along each axis; :data:`NONE` where
            there is none.
        depths: of the voxels, on the scale of ``costs``; ``ascent`` counts from them. Default: none.
        ascent: a part stays by itself whose cheapest edge is so much or more above its deepest voxel, so that
            basins remain which are that deep. Default: all parts that an edge joins become one.

    Returns:
        The forest, no more than 31 rounds of a ``while_loop``; runs on any device.

    References:
        Borůvka 1926, Práce Moravské přírodovědecké společnosti 3:37; Nešetřil, Milková & Nešetřilová 2001,
        Discrete Math 233:3, doi:10.1016/S0012-365X(00)00224-7 (translation).
    """
    shape, size = phase.shape, phase.size
    strides = (shape[1] * shape[2], shape[2], 1)
    voxels = jnp.arange(size, dtype=jnp.int32)
    flat = phase.ravel()

    def cheapest(part: Array) -> tuple[Array, Array]:
        """Cost and number of the cheapest edge that leaves each voxel's part, among the voxel's own."""
        volume = part.reshape(shape)
        cost, edge = jnp.full(shape, NONE), jnp.full(shape, NONE)
        for axis in range(3):
            leaves = volume != along(volume, axis, beyond=-1)
            upward = jnp.where(leaves, costs[axis], NONE)
            number = axis * size + voxels.reshape(shape)
            for c, e in (
                (upward, number),
                (along(upward, axis, -1, NONE), number - strides[axis]),
            ):
                better = (c < cost) | ((c == cost) & (c < NONE) & (e < edge))
                cost, edge = jnp.where(better, c, cost), jnp.where(better, e, edge)
        return cost.ravel(), edge.ravel()

    def grow(state: _State) -> _State:
        turns, part, _ = state
        cost, edge = cheapest(part)
        lowest = jnp.full(size, NONE).at[part].min(cost)
        edge = jnp.where(cost == lowest[part], edge, NONE)
        chosen = jnp.full(size, NONE).at[part].min(edge)
        # One number a part, at its first voxel; elsewhere there is none.
        there = (chosen < NONE) & (lowest < NONE)
        if depths is not None:
            deepest = jnp.full(size, NONE).at[part].min(depths.ravel())
            there = there & (lowest - deepest < ascent)
        axis, lower = chosen // size, chosen % size
        upper = lower + jnp.take(jnp.array(strides, jnp.int32), axis, mode="clip")
        lower, upper = (jnp.where(there, v, 0) for v in (lower, upper))
        mine = jnp.where(part[lower] == voxels, lower, upper)
        other = lower + upper - mine
        gap = flat[other] - flat[mine]
        added = turns[other] - turns[mine] + jnp.rint(gap / (2 * jnp.pi)).astype(jnp.int32)
        joined = jnp.where(there, part[other], voxels)
        # Of two parts that choose the same edge one stays.
        stays = (joined[joined] == voxels) & (voxels <= joined)
        joined, added = jnp.where(stays, voxels, joined), jnp.where(stays | ~there, 0, added)
        joined, added = _to_the_end(joined, added)
        return _State(turns + added[part], joined[part], jnp.any(there))

    start = _State(jnp.zeros(size, jnp.int32), voxels, jnp.array(True))
    end = jax.lax.while_loop(lambda state: state.growing, grow, start)
    return Forest(end.turns.reshape(shape), end.part.reshape(shape))


def along(volume: Array, axis: int, step: int = 1, beyond: int = 0) -> Array:
    """Give each voxel the value of the next along an axis, or of the one before at a ``step`` of −1."""
    padded = jnp.pad(volume, [(1, 1) if i == axis else (0, 0) for i in range(3)], constant_values=beyond)
    return jax.lax.slice_in_dim(padded, 1 + step, 1 + step + volume.shape[axis], axis=axis)


def _to_the_end(joined: Int[Array, " voxel"], added: Int[Array, " voxel"]) -> tuple[Array, Array]:
    """Follow each part to the one that stays, summing the turns on the way; the way halves each time."""

    def halve(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        joined, added, _ = state
        further = joined[joined]
        return further, added + added[joined], jnp.any(further != joined)

    joined, added, _ = jax.lax.while_loop(lambda state: state[2], halve, (joined, added, jnp.array(True)))
    return joined, added
