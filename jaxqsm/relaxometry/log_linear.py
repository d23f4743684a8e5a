"""Straight line through the logarithm of the magnitude."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Acquisition
from jaxqsm.relaxometry.common import bounded, relative


@jax.jit
def log_linear(
    magnitude: Float[Array, "x y z echo"], mask: Bool[Array, "x y z"], acquisition: Acquisition
) -> Float[Array, "x y z"]:
    """Fit a weighted line to the log magnitude over echo time; its slope is −R2*.

    Use it for unevenly spaced echoes of good SNR.

    The weights are magnitude², as the variance of a logarithm goes with 1 / magnitude².

    Args:
        magnitude: any unit, shape ``(x, y, z, echo)``.
        mask: where to fit.
        acquisition: echo times; the field strength is not used.

    Returns:
        R2* in 1/s, 0 to 2000, zero outside the mask. Closed form, differentiable.

    References:
        Pei et al. 2015, MRM 73:843, doi:10.1002/mrm.25137 (comparison of fits).

    Example:
        >>> acquisition = Acquisition((0.004, 0.008, 0.012, 0.016), 3.0)
        >>> magnitude = jnp.exp(-30 * acquisition.echo_times) * jnp.ones((4, 4, 4, 1))
        >>> rate = log_linear(magnitude, jnp.ones((4, 4, 4), bool), acquisition)
        >>> bool(jnp.allclose(rate, 30, rtol=0.01))  # 1/s
        True
    """
    scaled = jnp.maximum(relative(magnitude), 1e-6)
    weights, logarithm, times = scaled**2, jnp.log(scaled), acquisition.echo_times
    total = weights.sum(-1)
    centred = times - ((weights * times).sum(-1) / total)[..., None]
    slope = (weights * centred * logarithm).sum(-1) / jnp.maximum((weights * centred**2).sum(-1), 1e-30)
    return bounded(-slope, mask)
