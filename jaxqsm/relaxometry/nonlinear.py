"""Least squares on the magnitude itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Acquisition
from jaxqsm.relaxometry.common import HIGHEST, bounded, relative
from jaxqsm.relaxometry.log_linear import log_linear
from jaxqsm.solvers import iterate

STEPS = 8
"""Gauss-Newton steps: the start is near, and the residual error below 1e-4 of the rate."""


@jax.jit
def nonlinear(
    magnitude: Float[Array, "x y z echo"], mask: Bool[Array, "x y z"], acquisition: Acquisition
) -> Float[Array, "x y z"]:
    """Minimise Σ (magnitude − A exp(−R2* t))² over A and R2*, by Gauss-Newton.

    Use it at low SNR or uneven spacing.

    Noise of the magnitude is even over echoes, so this is the most precise of the fits while the signal
    stands well above the noise. It starts from :func:`log_linear`.

    Args:
        magnitude: any unit, shape ``(x, y, z, echo)``.
        mask: where to fit.
        acquisition: echo times; the field strength is not used.

    Returns:
        R2* in 1/s, 0 to 2000, zero outside the mask. Gradients unroll the few steps.

    References:
        Golub & Pereyra 1973, SIAM J Numer Anal 10:413, doi:10.1137/0710036 (A is eliminated).

    Example:
        >>> acquisition = Acquisition((0.004, 0.008, 0.012, 0.016), 3.0)
        >>> magnitude = jnp.exp(-30 * acquisition.echo_times) * jnp.ones((4, 4, 4, 1))
        >>> rate = nonlinear(magnitude, jnp.ones((4, 4, 4), bool), acquisition)
        >>> bool(jnp.allclose(rate, 30, rtol=0.01))  # 1/s
        True
    """
    scaled, times = relative(magnitude), acquisition.echo_times

    def step(rate: Array) -> Array:
        decay = jnp.exp(-rate[..., None] * times)
        energy = (decay**2).sum(-1)
        amplitude = (scaled * decay).sum(-1) / energy
        misfit = scaled - amplitude[..., None] * decay
        slope = -amplitude[..., None] * times * decay
        # What of the slope the amplitude can take up is no slope.
        slope = slope - ((slope * decay).sum(-1) / energy)[..., None] * decay
        size = (slope**2).sum(-1)
        change = (slope * misfit).sum(-1) / jnp.where(size > 1e-20, size, 1)
        limit = 0.5 * rate + 10
        return jnp.clip(rate + jnp.clip(change, -limit, limit), 0, HIGHEST)

    return bounded(iterate(step, log_linear(magnitude, mask, acquisition), STEPS), mask)
