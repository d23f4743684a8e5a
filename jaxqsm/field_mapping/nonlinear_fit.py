"""Fit of the complex signal: field and decay at once."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.field_mapping.weighted_fit import weighted_fit
from jaxqsm.geometry import Acquisition
from jaxqsm.solvers import iterate

STEPS = 8
"""Gauss-Newton steps from the linear fit; the residual error is far below the noise."""


@partial(jax.jit, static_argnames="intercept")
def nonlinear_fit(
    phase: Float[Array, "x y z echo"],
    magnitude: Float[Array, "x y z echo"],
    mask: Bool[Array, "x y z"],
    acquisition: Acquisition,
    *,
    intercept: bool = False,
) -> Float[Array, "x y z"]:
    """Minimise Σ |signal − A exp((2πi γ B0 field − R2*) t)|² over A, R2* and the field.

    Use it at low SNR or where single echoes are unwrapped wrongly.

    An echo that is off by 2π does not matter, and noise enters as it does in the scanner. With
    field and R2* as one complex number the model is an exponential, and a step of Gauss-Newton a small
    complex system a voxel. It starts from :func:`weighted_fit`.

    Args:
        phase: unwrapped phase in rad; 2π multiples matter for the start only.
        magnitude: any unit.
        mask: where to fit.
        acquisition: echo times and field strength.
        intercept: let A have a phase of its own. Default false: more precise, but the offset must have been
            removed (:func:`~jaxqsm.field_mapping.mcpc_3d_s`).

    Returns:
        Total field in ppm, zero outside the mask. Gradients unroll the few steps.

    References:
        Liu et al. 2013, MRM 69:467, doi:10.1002/mrm.24272.

    Example:
        >>> acquisition = Acquisition((0.004, 0.012), 3.0)
        >>> phase = 0.1 * acquisition.phase_per_ppm * jnp.ones((4, 4, 4, 1))
        >>> mask = jnp.ones((4, 4, 4), bool)
        >>> field = nonlinear_fit(phase, jnp.ones(phase.shape), mask, acquisition)
        >>> bool(jnp.allclose(field, 0.1, atol=1e-4))  # ppm
        True
    """
    brightest = jnp.max(magnitude, axis=-1, keepdims=True)
    scale = jnp.where(brightest > 0, brightest, 1)
    start = weighted_fit(phase, magnitude, mask, acquisition, intercept=intercept)
    ramp = acquisition.phase_per_ppm
    # In units of the last echo's time and of the phase there, all is of order 1.
    time = ramp / ramp[-1]
    # Turned back by the start: what is left to fit is slow.
    left = phase - start[..., None] * ramp
    signal = magnitude / scale * jnp.exp(1j * left)

    def step(exponent: Array) -> Array:
        decay = jnp.exp(exponent[..., None] * time)
        energy = (jnp.abs(decay) ** 2).sum(-1)
        amplitude = (signal * jnp.conj(decay)).sum(-1) / energy
        if not intercept:
            amplitude = jnp.real(amplitude)
        misfit = signal - amplitude[..., None] * decay
        slope = amplitude[..., None] * time * decay
        if intercept:
            slope = slope - ((slope * jnp.conj(decay)).sum(-1) / energy)[..., None] * decay
            change = (jnp.conj(slope) * misfit).sum(-1) / _positive((jnp.abs(slope) ** 2).sum(-1))
        else:
            # A real amplitude takes up decay, but no phase.
            size = (jnp.abs(slope) ** 2).sum(-1)
            turn = jnp.imag((jnp.conj(slope) * misfit).sum(-1)) / _positive(size)
            along = (jnp.abs(decay) ** 2 * time).sum(-1) / energy
            rest = slope - (amplitude * along)[..., None] * decay
            fall = jnp.real((jnp.conj(rest) * misfit).sum(-1)) / _positive((jnp.abs(rest) ** 2).sum(-1))
            change = fall + 1j * turn
        length = jnp.abs(change)
        change = change * jnp.minimum(1, 1 / _positive(length))
        exponent = exponent + change
        return jnp.clip(jnp.real(exponent), -10, 0.5) + 1j * jnp.imag(exponent)

    first = jnp.zeros(mask.shape, signal.dtype) - 0.5
    exponent = iterate(step, first, STEPS)
    return (start + jnp.imag(exponent) / ramp[-1]) * mask


def _positive(number: Array) -> Array:
    return jnp.maximum(number, 1e-12)
