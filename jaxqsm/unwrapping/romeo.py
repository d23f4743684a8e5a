"""Region growing along the most reliable neighbours, with exact multiples of 2π."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxqsm.geometry import Geometry
from jaxqsm.operators.spanning_forest import NONE, Forest, along
from jaxqsm.physics import wrap_phase
from jaxqsm.unwrapping.parts import Parts, centred_turns
from jaxqsm.unwrapping.region_growing import LEVELS, grow_regions

MOST_TURNS = 40
"""Turns that the template echo of a part may be off by."""

AS_WELL = 1e-3
"""Share by which the agreement of the echoes may differ between turns that serve as well: 0.04 rad."""

AT_ONCE = 256
"""Parts whose turns are settled at once."""

TURN = 2 * np.pi


class _Echoes(NamedTuple):
    """Phase in rad, where it is meaningful, magnitude, and times in seconds."""

    wrapped: Float[Array, "x y z echo"]
    mask: Bool[Array, "x y z"]
    magnitude: Float[Array, "x y z echo"]
    echo_times: Float[Array, " echo"]


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

    Use it by default: exact multiples of 2π, on any device.

    Edges between neighbours are rated by phase coherence, by agreement of the phase gradient with
    that of a second echo, and by magnitude coherence. With several echoes the ``template`` echo is
    unwrapped in space and the others follow in time, outwards from it, echo by echo. The turns that a part of
    the mask as a whole is off by follow from all its echoes, so the receiver need not be centred on it.

    On the CPU a region grows over its surest edge, voxel by voxel: a compiled loop, under ``jit`` on the
    host. On GPU and TPU all regions grow at once and meet, which finds the same turns where no two ways are
    equally sure. The gradient is the identity.

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
    echoes = wrapped if wrapped.ndim == 4 else wrapped[..., None]
    brightness = jnp.ones_like(echoes) if magnitude is None else magnitude.reshape(echoes.shape)
    times = jnp.ones(1) if echo_times is None else echo_times
    scan = jax.lax.stop_gradient(_Echoes(echoes, mask, brightness, times))
    template = min(template, echoes.shape[-1] - 1)

    def in_space(echo: int) -> Forest:
        return grow_regions(scan.wrapped[..., echo], _edge_costs(scan, echo=echo))

    forest = in_space(template)
    if wrapped.ndim == 3:
        turns = _centred_turns(scan.wrapped[..., 0], mask, forest)[..., None]
    else:
        turns = _settled(scan, forest, template=template)
        others = [e for e in range(echoes.shape[-1]) if e != template]
        if individual:
            by_echo = {e: in_space(e).turns for e in others}
            turns = _as_template(scan, forest, turns, by_echo, template=template)
        else:
            turns = _in_time(scan, turns, template=template)
    unwrapped = (echoes + TURN * turns) * mask[..., None]
    return unwrapped.reshape(wrapped.shape)


_centred_turns = jax.jit(centred_turns)


@partial(jax.jit, static_argnames="echo")
def _edge_costs(
    scan: _Echoes,
    echo: int,
) -> Int[Array, "3 x y z"]:
    """Cost of the edge from every voxel to its next along each axis."""
    wrapped, mask, magnitude, echo_times = scan
    phase, brightness = wrapped[..., echo], magnitude[..., echo]
    other = echo - 1 if echo > 0 else min(1, wrapped.shape[-1] - 1)

    def cost(axis: int) -> Array:
        difference = wrap_phase(along(phase, axis) - phase)
        reliability = 1 - jnp.abs(difference) / jnp.pi
        if other != echo:
            ratio = echo_times[echo] / echo_times[other]
            expected = ratio * wrap_phase(along(wrapped[..., other], axis) - wrapped[..., other])
            reliability = reliability * jnp.maximum(0, 1 - jnp.abs(difference - expected))
        low = jnp.minimum(brightness, along(brightness, axis))
        high = jnp.maximum(brightness, along(brightness, axis))
        reliability = reliability * (low / jnp.where(high > 0, high, 1)) ** 2
        levels = 1 + jnp.floor((LEVELS - 1) * (1 - jnp.clip(reliability, 0, 1)))
        return jnp.where(mask & along(mask, axis), levels.astype(jnp.int32), NONE)

    return jnp.stack([cost(axis) for axis in range(3)])


@partial(jax.jit, static_argnames="template")
def _settled(
    scan: _Echoes,
    forest: Forest,
    *,
    template: int,
) -> Int[Array, "x y z"]:
    """Turns of the template echo for which the phase of each part is proportional to echo time.

    With m turns more every other echo n is expected to be ahead by 2π m tₙ / t. So m is what the other echoes
    are ahead by; of several that serve as well (one more a turn between echoes) that which leaves the median
    nearest to zero.
    """
    wrapped, mask, magnitude, echo_times = scan
    parts = Parts.of(forest, mask)
    unwrapped = wrapped[..., template] + TURN * forest.turns
    nearest = -parts.median(jnp.rint(unwrapped / TURN).astype(jnp.int32).ravel())
    # Sums over each part of the phasors by which the other echoes are ahead.
    phasors = []
    for echo in (e for e in range(wrapped.shape[-1]) if e != template):
        ratio = echo_times[echo] / echo_times[template]
        ahead = wrapped[..., echo] - ratio * unwrapped
        weight = magnitude[..., echo] * magnitude[..., template]
        phasors.append((parts.sum(weight * jnp.cos(ahead)), parts.sum(weight * jnp.sin(ahead)), ratio))
    if not phasors:
        return forest.turns + parts.spread(nearest).reshape(mask.shape)
    steps = jnp.array(sorted(range(-MOST_TURNS, MOST_TURNS + 1), key=abs))
    size = parts.label.size
    (voxels,) = jnp.nonzero(parts.own, size=-(-size // AT_ONCE) * AT_ONCE, fill_value=size)

    def settle(state: tuple[Array, Array]) -> tuple[Array, Array]:
        chosen, done = state
        these = jax.lax.dynamic_slice_in_dim(voxels, done, AT_ONCE)
        candidates = nearest.at[these].get(mode="clip") + steps[:, None]
        agreement, total = jnp.zeros(candidates.shape), jnp.full(AT_ONCE, 1e-30)
        for real, imaginary, ratio in phasors:
            cosine, sine = (v.at[these].get(mode="clip") for v in (real, imaginary))
            strength = jnp.hypot(cosine, sine)
            total = total + strength
            # An echo that is ahead by whole turns agrees, so turns are counted before they are multiplied.
            turns = jnp.arctan2(sine, cosine) / TURN - candidates * ratio
            agreement = agreement + strength * jnp.cos(TURN * (turns - jnp.rint(turns)))
        best = jnp.argmax(agreement >= agreement.max(axis=0) - AS_WELL * total, axis=0)
        found = jnp.take_along_axis(candidates, best[None], axis=0)[0]
        return chosen.at[these].set(found, mode="drop"), done + AT_ONCE

    count = parts.own.sum()
    chosen, _ = jax.lax.while_loop(lambda state: state[1] < count, settle, (nearest, jnp.array(0)))
    return forest.turns + parts.spread(chosen).reshape(mask.shape)


@partial(jax.jit, static_argnames="template")
def _in_time(
    scan: _Echoes,
    turns: Int[Array, "x y z"],
    *,
    template: int,
) -> Int[Array, "x y z echo"]:
    """Turns of all echoes, from the template outwards, each predicted by the one before."""
    wrapped, mask, _, echo_times = scan
    echoes = wrapped.shape[-1]
    by_echo = {template: turns}
    outwards = [(e, e - 1) for e in range(template + 1, echoes)]
    outwards += [(e, e + 1) for e in range(template - 1, -1, -1)]
    for echo, known in outwards:
        ratio = echo_times[echo] / echo_times[known]
        predicted = ratio * (wrapped[..., known] + TURN * by_echo[known])
        found = jnp.rint((predicted - wrapped[..., echo]) / TURN).astype(jnp.int32)
        by_echo[echo] = jnp.where(mask, found, 0)
    return jnp.stack([by_echo[e] for e in range(echoes)], axis=-1)


@partial(jax.jit, static_argnames="template")
def _as_template(
    scan: _Echoes,
    forest: Forest,
    turns: Int[Array, "x y z"],
    by_echo: dict[int, Int[Array, "x y z"]],
    *,
    template: int,
) -> Int[Array, "x y z echo"]:
    """Turns of all echoes, each unwrapped by itself, where parts as a whole follow the template."""
    wrapped, mask, _, echo_times = scan
    parts = Parts.of(forest, mask)
    unwrapped = wrapped[..., template] + TURN * turns
    settled = by_echo | {template: turns}
    for echo, own in by_echo.items():
        gap = unwrapped * echo_times[echo] / echo_times[template] - wrapped[..., echo]
        missing = jnp.rint(gap / TURN).astype(jnp.int32) - own
        settled[echo] = own + parts.spread(parts.median(missing.ravel())).reshape(mask.shape)
    return jnp.stack([settled[e] for e in range(wrapped.shape[-1])], axis=-1)
