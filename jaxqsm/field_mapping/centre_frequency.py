"""Frequency on which the receiver was not centred."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float

from jaxqsm.geometry import Acquisition

MOST_TURNS = 12
"""Turns between the first two echoes that the centre may be off by."""

AS_WELL = 1e-3
"""Share by which the agreement of the echoes may differ between frequencies that serve as well."""


@jax.jit
def centre_frequency(
    signal: Complex[Array, "x y z echo"], mask: Bool[Array, "x y z"], acquisition: Acquisition
) -> Float[Array, ""]:
    """Estimate the receiver's frequency offset from the first two echoes, averaged over the mask.

    A constant frequency is the field of no source, so it is no concern of χ; but wraps depend on it.
    It is f = arg(Σ S₂ S₁*) / (2π (t₂ − t₁)), and of one echo arg(Σ S₁) / (2π t₁): a scan whose frequency is
    shifted has a result that is shifted as much, modulo one turn, whatever the field.

    Args:
        signal: complex, any unit.
        mask: where it is meaningful.
        acquisition: echo times.

    Returns:
        Hz, within one turn between the first two echoes. Multiply the signal by exp(−2πi f t) to take it off.

    Example:
        >>> signal = jnp.exp(2j * jnp.pi * 30 * jnp.array([0.004, 0.008])) * jnp.ones((4, 4, 4, 1))
        >>> mask = jnp.ones((4, 4, 4), bool)
        >>> round(float(centre_frequency(signal, mask, Acquisition((0.004, 0.008), 3.0))), 2)
        30.0
    """
    times = acquisition.echo_times
    relative = signal / jnp.maximum(jnp.abs(signal).max(), 1e-30)
    if times.size == 1:
        total, interval = jnp.sum(relative[..., 0] * mask), times[0]
    else:
        total = jnp.sum(relative[..., 1] * jnp.conj(relative[..., 0]) * mask)
        interval = times[1] - times[0]
    return jnp.angle(total) / (2 * jnp.pi * interval)


@jax.jit
def further_turns(
    signal: Complex[Array, "x y z echo"],
    unwrapped_difference: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    acquisition: Acquisition,
) -> Float[Array, ""]:
    """Count the 2π multiples between the first two echoes that unevenly spaced later echoes reveal.

    Two echoes show a frequency modulo one turn between them. The phase offset found from them takes up the
    rest at the first echo, so that an echo at t is ahead by 2π k (t − t₁) / (t₂ − t₁) of what the difference
    predicts.

    Args:
        signal: complex, any unit, without phase offset.
        unwrapped_difference: of the phase of the first two echoes, rad.
        mask: where both are meaningful.
        acquisition: echo times.

    Returns:
        k of least size among those that all echoes agree with best.
    """
    times = acquisition.echo_times
    interval = times[1] - times[0]
    relative = signal / jnp.maximum(jnp.abs(signal).max(), 1e-30)
    predicted = unwrapped_difference[..., None] * times / interval
    ahead = jnp.sum(relative * jnp.exp(-1j * predicted) * mask[..., None], axis=(0, 1, 2))
    turns = jnp.asarray(sorted(range(-MOST_TURNS, MOST_TURNS + 1), key=abs), times.dtype)
    expected = jnp.exp(-2j * jnp.pi * turns[:, None] * (times - times[0]) / interval)
    agreement = jnp.sum((ahead * expected).real, axis=1)
    best = agreement.max() - AS_WELL * jnp.sum(jnp.abs(ahead))
    return turns[jnp.argmax(agreement >= best)]
