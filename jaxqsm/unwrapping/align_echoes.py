"""2π multiples between echoes."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def align_echoes(
    phase: Float[Array, "x y z echo"], mask: Bool[Array, "x y z"], echo_times: Float[Array, echo]
) -> Float[Array, "x y z echo"]:
    """Add 2π multiples to whole echoes so that mean phase is proportional to echo time.

    Unwrapping in space leaves each echo's multiple of 2π open; a fit over echoes needs it settled.

    Args:
        phase: unwrapped in space, rad, without phase offset.
        mask: where phase is meaningful.
        echo_times: seconds; mean phase between the first two echoes must change by less than half
            a turn, which a centred receiver frequency ensures.

    Returns:
        Phase in rad, zero outside the mask; the gradient is the identity inside.
    """
    inside = mask[..., None]
    mean = jnp.sum(phase * inside, axis=(0, 1, 2)) / jnp.maximum(mask.sum(), 1)
    turn = 2 * jnp.pi
    turns = [jnp.zeros_like(mean[0])]
    for echo in range(1, phase.shape[-1]):
        before = mean[echo - 1] + turn * turns[-1]
        expected = before * echo_times[echo] / echo_times[echo - 1]
        turns.append(jnp.round((expected - mean[echo]) / turn))
    return (phase + turn * jnp.stack(turns)) * inside
