"""Region growing along the most reliable neighbours, with exact multiples of 2π."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numba
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float
from scipy import ndimage

from jaxqsm.geometry import Geometry

MOST_TURNS = 40
"""Turns that the template echo of a part may be off by."""

AS_WELL = 1e-3
"""Share by which the agreement of the echoes may differ between turns that serve as well: 0.04 rad."""

LEVELS = 255
"""Edge costs are whole numbers from 1 (certain) to this (worst); 0 marks a missing edge."""


def romeo(
    wrapped: Float[Array, "x y z *echo"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z *echo"] | None = None,
    echo_times: Float[Array, echo] | None = None,
    template: int = 1,
    individual: bool = False,
) -> Float[Array, "x y z *echo"]:
    """Unwrap by region growing along the most reliable edges (ROMEO).

    Use it by default: exact 2π multiples, on the CPU.

    Edges between neighbours are rated by phase coherence, by agreement of the phase gradient with
    that of a second echo, and by magnitude coherence. With several echoes the ``template`` echo is
    unwrapped in space and the others follow in time, outwards from it, echo by echo. The turns that a part of
    the mask as a whole is off by follow from all its echoes, so the receiver need not be centred on it.

    Region growing is sequential: a compiled loop on the CPU. Under ``jit``, ``grad`` or ``vmap`` it
    becomes a host callback that returns whole numbers only, so the gradient is the identity. On a
    GPU or TPU call it before the jitted part, or use :func:`~jaxqsm.unwrapping.laplacian` inside.

    Args:
        wrapped: phase in rad; several echoes must share one phase offset of zero (remove it first).
        mask: where phase is meaningful. Parts that do not touch are unwrapped one by one; of a single echo
            the median of each is within ±π.
        geometry: not used: reliability is a matter of neighbours. Kept for the common signature.
        magnitude: optional, shape of ``wrapped``, any unit; makes bright neighbours preferred.
        echo_times: seconds; needed with several echoes.
        template: index of the echo unwrapped in space; default 1, the second, as published.
        individual: unwrap every echo in space by itself, for echo times that are far apart; a part as a whole
            follows the template. Default false.

    Returns:
        ``wrapped`` plus whole multiples of 2π in the mask, zero outside.

    Raises:
        ValueError: several echoes without ``echo_times``.

    References:
        Dymerska et al. 2021, MRM 85:2294, doi:10.1002/mrm.28563.

    Example:
        >>> phase = jnp.broadcast_to(jnp.linspace(0, 20, 16), (16, 16, 16))
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> unwrapped = romeo(jnp.angle(jnp.exp(1j * phase)), mask, Geometry())
        >>> bool(jnp.ptp(unwrapped) > 19)
        True
    """
    del geometry
    if wrapped.ndim == 4 and echo_times is None:
        raise ValueError("romeo needs echo_times to unwrap several echoes")
    times = jnp.ones(1) if echo_times is None else echo_times
    magnitudes = jnp.ones_like(wrapped) if magnitude is None else magnitude
    arguments = (wrapped, mask, magnitudes, times)
    count = partial(_count_wraps, template=template, individual=individual)
    if any(isinstance(a, jax.core.Tracer) for a in arguments):
        shape = jax.ShapeDtypeStruct(wrapped.shape, jnp.int32)
        stopped = jax.tree.map(jax.lax.stop_gradient, arguments)
        wraps = jax.pure_callback(count, shape, *stopped, vmap_method="sequential")
    else:
        wraps = count(*arguments)
    inside = mask if wrapped.ndim == 3 else mask[..., None]
    return (wrapped + 2 * jnp.pi * jnp.asarray(wraps).astype(wrapped.dtype)) * inside


def _count_wraps(
    wrapped: ArrayLike,
    mask: ArrayLike,
    magnitude: ArrayLike,
    times: ArrayLike,
    *,
    template: int,
    individual: bool,
) -> np.ndarray:
    phase = np.asarray(wrapped, np.float32)
    inside = np.ascontiguousarray(mask, bool)
    brightness = np.asarray(magnitude, np.float32)
    echo_times = np.asarray(times, np.float64)
    if phase.ndim == 3:
        turns, parts = _count_spatial(phase, inside, brightness, None, 1.0), _Parts.of(inside)
        return turns - parts.spread(np.rint(parts.median(phase / (2 * np.pi) + turns)))
    echoes = phase.shape[-1]

    def in_space(echo: int) -> np.ndarray:
        other = echo - 1 if echo > 0 else min(1, echoes - 1)
        return _count_spatial(
            np.ascontiguousarray(phase[..., echo]),
            inside,
            brightness[..., echo],
            phase[..., other] if other != echo else None,
            echo_times[echo] / echo_times[other],
        )

    parts = _Parts.of(inside)
    template = min(template, echoes - 1)
    wraps = np.zeros(phase.shape, np.int32)
    wraps[..., template] = in_space(template)
    wraps[..., template] += _settled(phase, wraps[..., template], brightness, parts, echo_times, template)
    if individual:
        unwrapped = phase[..., template] + 2 * np.pi * wraps[..., template]
        for echo in (e for e in range(echoes) if e != template):
            wraps[..., echo] = in_space(echo)
            gap = unwrapped * echo_times[echo] / echo_times[template] - phase[..., echo]
            wraps[..., echo] += parts.spread(np.rint(parts.median(gap / (2 * np.pi) - wraps[..., echo])))
        return wraps
    outwards = [(e, e - 1) for e in range(template + 1, echoes)]
    outwards += [(e, e + 1) for e in range(template - 1, -1, -1)]
    for echo, known in outwards:
        ratio = echo_times[echo] / echo_times[known]
        predicted = ratio * (phase[..., known] + 2 * np.pi * wraps[..., known])
        turns = np.rint((predicted - phase[..., echo]) / (2 * np.pi))
        wraps[..., echo] = np.where(inside, turns, 0)
    return wraps


class _Parts(NamedTuple):
    """Parts of a mask that hang together by faces: region growing cannot relate one to another."""

    labels: np.ndarray
    number: int

    @classmethod
    def of(cls, mask: np.ndarray) -> _Parts:
        return cls(*ndimage.label(mask))

    def sum(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.labels.ravel(), values.ravel(), self.number + 1)[1:]

    def median(self, values: np.ndarray) -> np.ndarray:
        return np.atleast_1d(ndimage.median(values, self.labels, np.arange(1, self.number + 1)))

    def spread(self, numbers: np.ndarray) -> np.ndarray:
        """Spread whole numbers, one a part, to the part's voxels."""
        return np.concatenate([[0], numbers]).astype(np.int32)[self.labels]


def _settled(
    phase: np.ndarray,
    turns: np.ndarray,
    magnitude: np.ndarray,
    parts: _Parts,
    echo_times: np.ndarray,
    template: int,
) -> np.ndarray:
    """Turns to add to each part of the template echo so that its phase is proportional to echo time.

    With m turns more every other echo n is expected to be ahead by 2π m tₙ / t. So m is what the other echoes
    are ahead by; of several that serve as well (one more a turn between echoes) that which leaves the median
    nearest to zero.
    """
    unwrapped = phase[..., template] + 2 * np.pi * turns
    nearest = -np.rint(parts.median(unwrapped) / (2 * np.pi))
    steps = np.array(sorted(range(-MOST_TURNS, MOST_TURNS + 1), key=abs))
    candidates = nearest + steps[:, None]
    agreement = np.zeros(candidates.shape)
    total = np.full(parts.number, 1e-30)
    for echo in (e for e in range(len(echo_times)) if e != template):
        ratio = echo_times[echo] / echo_times[template]
        ahead = phase[..., echo] - ratio * unwrapped
        weight = magnitude[..., echo].astype(np.float64) * magnitude[..., template]
        real, imaginary = parts.sum(weight * np.cos(ahead)), parts.sum(weight * np.sin(ahead))
        size = np.hypot(real, imaginary)
        total += size
        agreement += size * np.cos(np.arctan2(imaginary, real) - 2 * np.pi * candidates * ratio)
    chosen = np.argmax(agreement >= agreement.max(axis=0) - AS_WELL * total, axis=0)
    return parts.spread(np.take_along_axis(candidates, chosen[None], axis=0)[0])


def _count_spatial(
    phase: np.ndarray,
    mask: np.ndarray,
    magnitude: np.ndarray,
    other: np.ndarray | None,
    ratio: float,
) -> np.ndarray:
    """2π multiples to add to ``phase``; ``ratio`` is its echo time over that of ``other``."""
    costs = np.stack([_edge_costs(phase, mask, magnitude, other, ratio, axis) for axis in range(3)])
    # The seed is a voxel with certain edges all around.
    quality = np.where(costs > 0, LEVELS + 1 - costs.astype(np.int32), 0).sum(axis=0)
    seed = int(np.argmax(np.where(mask, quality, -1)))
    # One empty border layer spares the growing loop all bounds checks.
    padded = np.pad(phase, 1)
    index = np.arange(padded.size, dtype=np.int64).reshape(padded.shape)
    inner = index[1:-1, 1:-1, 1:-1]
    turns = np.zeros(padded.size, np.int32)
    _grow()(
        padded.ravel(),
        np.pad(mask, 1).ravel(),
        np.stack([np.pad(c, 1).ravel() for c in costs]),
        np.array(padded.strides) // padded.itemsize,
        np.concatenate([inner.ravel()[seed : seed + 1], inner[mask]]),
        turns,
    )
    turns = turns.reshape(padded.shape)[1:-1, 1:-1, 1:-1]
    return np.where(mask, turns, 0).astype(np.int32)


def _edge_costs(
    phase: np.ndarray,
    mask: np.ndarray,
    magnitude: np.ndarray,
    other: np.ndarray | None,
    ratio: float,
    axis: int,
) -> np.ndarray:
    """Cost of the edge from every voxel to its next along ``axis``; 0 where there is none."""
    first = [slice(None)] * 3
    second = [slice(None)] * 3
    first[axis], second[axis] = slice(None, -1), slice(1, None)
    a, b = tuple(first), tuple(second)
    difference = _wrapped(phase[b] - phase[a])
    reliability = 1 - np.abs(difference) / np.pi
    if other is not None:
        expected = ratio * _wrapped(other[b] - other[a])
        reliability = reliability * np.maximum(0, 1 - np.abs(difference - expected))
    low = np.minimum(magnitude[a], magnitude[b])
    high = np.maximum(magnitude[a], magnitude[b])
    reliability = reliability * (low / np.where(high > 0, high, 1)) ** 2
    cost = np.zeros(phase.shape, np.uint8)
    levels = 1 + np.floor((LEVELS - 1) * (1 - np.clip(reliability, 0, 1)))
    cost[a] = np.where(mask[a] & mask[b], levels, 0)
    return cost


def _wrapped(phase: np.ndarray) -> np.ndarray:
    return phase - 2 * np.pi * np.rint(phase / (2 * np.pi))


@cache
def _grow() -> Callable[..., None]:
    """The loop, compiled at its first use; kept on disk where there is a place that can be written."""
    try:
        return numba.njit(cache=True)(_grow_loop)
    except RuntimeError:
        return numba.njit(_grow_loop)


def _grow_loop(phase, mask, costs, strides, seeds, turns):
    """Bucket-queue region growing on flat, border-padded arrays; fills ``turns`` in place."""
    voxels = phase.size
    visited = np.zeros(voxels, np.bool_)
    # A stack of edges per cost, as linked lists: edge number = axis * voxels + lower voxel.
    top = np.full(256, -1, np.int64)
    below = np.full(3 * voxels, -1, np.int64)
    queued = np.zeros(3 * voxels, np.bool_)
    for seed in seeds:
        if visited[seed] or not mask[seed]:
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
                visited[new] = True
                reached = new
            if reached < 0:
                break
