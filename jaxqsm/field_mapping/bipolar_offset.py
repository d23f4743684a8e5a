"""Phase difference between echoes of opposite readout polarity."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import gaussian_mean

SMOOTHING = 10.0
"""mm, standard deviation of the Gaussian that what is not linear is smoothed by: it bends slowly."""

UNEVEN = 0.02
"""Part by which the intervals may differ."""


def evenly_spaced(echo_times: Float[np.ndarray, " echo"]) -> bool:
    """Check that the first three echoes are at even intervals, as :func:`bipolar_offset` needs."""
    intervals = np.diff(echo_times[:3])
    return bool(np.ptp(intervals) <= UNEVEN * intervals.max())


@jax.jit
def bipolar_offset(
    signal: Complex[Array, "x y z echo"], mask: Bool[Array, "x y z"], geometry: Geometry
) -> Float[Array, "x y z"]:
    """Estimate the phase of every second echo of a bipolar readout relative to its neighbours.

    Use it where the readout alternates in direction.

    Gradient delays and eddy currents shift echoes that are read backwards in k-space, a phase that is linear
    along the readout above all. Of three echoes at even intervals, 2 φ₂ − φ₁ − φ₃ holds neither field nor
    phase offset, only twice that phase. A line is found from the mean step between neighbours, which no wrap
    disturbs, and what the line leaves is smoothed.

    Args:
        signal: complex, any unit, three echoes or more at even intervals; only the first three are used.
        mask: where the signal is meaningful.
        geometry: voxel size (mm).

    Returns:
        rad; multiply the second, fourth … echo by exp(−i offset), and a monopolar scan is left. Known but for
        half a turn: on average over the mask it is taken to be within ±π/2. Differentiable.

    Raises:
        ValueError: fewer than three echoes.

    References:
        Eckstein et al. 2018, MRM 79:2996, doi:10.1002/mrm.26963 (MCPC-3D-S, bipolar); Lu et al. 2008, MRM
        60:198, doi:10.1002/mrm.21583 (the model).

    Example:
        >>> signal = jnp.exp(1j * jnp.array([0.0, 0.4, 0.0])) * jnp.ones((16, 16, 16, 1))
        >>> offset = bipolar_offset(signal, jnp.ones((16, 16, 16), bool), Geometry())
        >>> bool(jnp.allclose(offset, 0.4, atol=0.01))
        True
    """
    if signal.shape[-1] < 3:
        raise ValueError(f"a bipolar readout shows in three echoes or more, not in {signal.shape[-1]}")
    # A voxel without signal has no phase, and the derivative of its angle would be NaN.
    present = mask & jnp.all(signal[..., :3] != 0, axis=-1)
    relative = signal / jnp.maximum(jax.lax.stop_gradient(jnp.abs(signal).max()), 1e-30)
    first, second, third = (jnp.where(present, relative[..., echo], 1) for echo in range(3))
    product = second**2 * jnp.conj(first) * jnp.conj(third)
    present = present & (product != 0)  # nor has one whose fourth power is none in float32
    length = jnp.abs(jnp.where(present, product, 1))
    turning = present * product / jnp.sqrt(length)  # weighs as a magnitude squared
    line = jnp.zeros(mask.shape)
    for axis, count in enumerate(mask.shape):
        low, high = (jax.lax.slice_in_dim(turning, i, count - 1 + i, axis=axis) for i in (0, 1))
        step = _angle(jnp.sum(high * jnp.conj(low)))
        along = step * (jnp.arange(count) - (count - 1) / 2)
        line = line + along.reshape([-1 if axis == other else 1 for other in range(3)])
    rest = turning * jnp.exp(-1j * line)
    constant = _angle(jnp.sum(rest))
    rest = rest * jnp.exp(-1j * constant)
    bend = _angle(
        gaussian_mean(rest.real, SMOOTHING, geometry) + 1j * gaussian_mean(rest.imag, SMOOTHING, geometry)
    )
    return (line + constant + bend) / 2


def _angle(value: Array) -> Array:
    """Zero where there is nothing, with a derivative of zero."""
    nothing = value == 0
    return jnp.where(nothing, 0, jnp.angle(jnp.where(nothing, 1, value)))
