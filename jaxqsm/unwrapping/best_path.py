"""Best-path unwrapping: voxels are joined in the order of the second differences between them."""

from __future__ import annotations

from itertools import product

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxqsm.geometry import Geometry
from jaxqsm.operators.spanning_forest import NONE, along, spanning_forest
from jaxqsm.physics import wrap_phase
from jaxqsm.unwrapping.parts import centred_turns

LINES = [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]
"""Directions to 13 of the 26 neighbours; the others are opposite to these."""

WORST = 1e3
"""Square of second differences, rad², at voxels that lack a neighbour; others have less than 13 (2π)²."""


@jax.jit
def best_path(
    wrapped: Float[Array, "x y z *echo"], mask: Bool[Array, "x y z"], geometry: Geometry
) -> Float[Array, "x y z *echo"]:
    """Unwrap along the path of smoothest phase, echo by echo.

    Use it as an exact alternative for single echoes without magnitude.

    An edge between neighbours costs the squares of the second differences at both, over all 13 lines through
    each. Voxels are joined over the cheapest edges that join all
    (:func:`~jaxqsm.operators.spanning_forest.spanning_forest`). The gradient is the identity.

    Args:
        wrapped: phase in rad.
        mask: where phase is meaningful. Parts that do not touch are unwrapped one by one.
        geometry: not used; kept for the common signature.

    Returns:
        ``wrapped`` plus whole multiples of 2π in the mask, zero outside; of each echo the median of a part is
        within half a turn of zero.

    References:
        Abdul-Rahman et al. 2007, Appl Opt 46:6623, doi:10.1364/AO.46.006623.

    Example:
        >>> phase = jnp.broadcast_to(jnp.linspace(0, 20, 16), (16, 16, 16))
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> unwrapped = best_path(jnp.angle(jnp.exp(1j * phase)), mask, Geometry())
        >>> bool(jnp.ptp(unwrapped) > 19)
        True
    """
    del geometry
    if wrapped.ndim == 3:
        return (wrapped + 2 * jnp.pi * _turns(jax.lax.stop_gradient(wrapped), mask)) * mask
    echoes = [best_path(wrapped[..., echo], mask, None) for echo in range(wrapped.shape[-1])]
    return jnp.stack(echoes, axis=-1)


def _turns(phase: Float[Array, "x y z"], mask: Bool[Array, "x y z"]) -> Int[Array, "x y z"]:
    roughness = _roughness(phase, mask)
    costs = []
    for axis in range(3):
        # Numbers that are not negative are in the order of their bits.
        cost = jax.lax.bitcast_convert_type(roughness + along(roughness, axis), jnp.int32)
        costs.append(jnp.where(mask & along(mask, axis), cost, NONE))
    return centred_turns(phase, mask, spanning_forest(phase, jnp.stack(costs)))


def _roughness(phase: Float[Array, "x y z"], mask: Bool[Array, "x y z"]) -> Float[Array, "x y z"]:
    """Sum the squares of wrapped second differences, float32."""
    padded, inside = jnp.pad(phase.astype(jnp.float32), 1), jnp.pad(mask, 1)

    def at(volume: Array, step: tuple[int, ...]) -> Array:
        first = [1 + s for s in step]
        return jax.lax.slice(volume, first, [f + n for f, n in zip(first, phase.shape, strict=True)])

    total, whole, here = jnp.zeros(phase.shape, jnp.float32), mask, at(padded, (0, 0, 0))
    for step in LINES:
        back = tuple(-s for s in step)
        bend = wrap_phase(at(padded, step) - here) - wrap_phase(here - at(padded, back))
        total = total + wrap_phase(bend) ** 2
        whole = whole & at(inside, step) & at(inside, back)
    return jnp.where(whole, total, WORST)
