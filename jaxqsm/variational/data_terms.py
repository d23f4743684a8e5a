"""Data terms of split inversions, as proximal maps v → argmin_z term(z) + ρ / 2 · (z − v)².

Each function returns the map v → argmin over z of term(z) + ρ / 2 · (z − v)², voxel by voxel.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxqsm.geometry import Acquisition

Volume = Float[Array, "*voxels"]
Proximal = Callable[[Volume], Volume]

NEWTON_STEPS = 3
"""Leaves 1e-5 of a misfit below a quarter turn."""


def linear(field: Volume, weights: Volume, *, rho: ArrayLike = 1.0) -> Proximal:
    """Make the proximal map of ½ weights (z − field)²."""
    return lambda v: (weights * field + rho * v) / (weights + rho)


def nonlinear(field: Volume, weights: Volume, *, phase_scale: ArrayLike, rho: ArrayLike = 1.0) -> Proximal:
    """Make the proximal map of ½ weights |exp(i s z) − exp(i s field)|² / s².

    For small misfits it is the linear term; the more a voxel misses, the less it pulls.
    """

    def proximal(v: Volume) -> Volume:
        turn = 2 * jnp.pi / phase_scale
        distance = v - field
        distance = distance - turn * jnp.round(distance / turn)
        misfit = rho * distance / (weights + rho)
        for _ in range(NEWTON_STEPS):
            phase = phase_scale * misfit
            slope = weights * sine(phase) / phase_scale + rho * (misfit - distance)
            # Without its concave part: the step is shorter, but never uphill.
            curvature = weights * jnp.maximum(sine(phase + jnp.pi / 2), 0) + rho
            misfit = misfit - slope / curvature
        return v + misfit - distance

    return proximal


def of_phase(
    field: Volume, weights: Volume, acquisition: Acquisition | None, *, rho: ArrayLike = 1.0
) -> Proximal:
    """Make :func:`nonlinear` at the phase scale of an acquisition; :func:`linear` without one."""
    if acquisition is None:
        return linear(field, weights, rho=rho)
    return nonlinear(field, weights, phase_scale=acquisition.phase_scale, rho=rho)


def huber(field: Volume, weights: Volume, *, huber_threshold: ArrayLike, rho: ArrayLike = 1.0) -> Proximal:
    """Make the proximal map of Huber's function of the misfit, quadratic up to ``huber_threshold``.

    It is the linear term for noise, and is robust against gross errors.
    """
    strongest = jnp.asarray(huber_threshold) * weights / rho

    def proximal(v: Volume) -> Volume:
        pull = weights * (v - field) / (weights + rho)
        return v - jnp.clip(pull, -strongest, strongest)

    return proximal


def absolute(field: Volume, weights: Volume, *, rho: ArrayLike = 1.0) -> Proximal:
    """Make the proximal map of weights |z − field|, which is robust against gross errors."""

    def proximal(v: Volume) -> Volume:
        distance = v - field
        return v - jnp.clip(distance, -weights / rho, weights / rho)

    return proximal


def sine(angle: ArrayLike) -> Array:
    """Compute the sine to 2e-7 in float32, faster than XLA's on a CPU.

    Whole half-turns are taken off in two parts, as one float32 cannot hold π well enough; what is left
    lies within a quarter turn, where eleven powers of the series suffice.
    """
    angle = jnp.asarray(angle)
    if angle.dtype != jnp.float32:
        return jnp.sin(angle)
    half_turns = jnp.round(angle / jnp.pi)
    rest = angle - half_turns * 3.140625 - half_turns * 9.67653589793e-4
    squared = rest**2
    series = 1 / 362880 - squared / 39916800
    for factor in (-1 / 5040, 1 / 120, -1 / 6, 1.0):
        series = factor + squared * series
    odd = half_turns - 2 * jnp.floor(half_turns / 2)
    return rest * series * (1 - 2 * odd)
