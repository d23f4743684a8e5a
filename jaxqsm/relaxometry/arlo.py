"""Auto-regression on linear operations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Acquisition
from jaxqsm.relaxometry.common import bounded, relative

UNEVEN = 0.01
"""Part of their mean by which distances between echo times may differ."""


def arlo(
    magnitude: Float[Array, "x y z echo"], mask: Bool[Array, "x y z"], acquisition: Acquisition
) -> Float[Array, "x y z"]:
    """Fit R2* by auto-regression on the integral of the signal over three echoes (ARLO).

    Use it for three or more evenly spaced echoes: fast and accurate.

    For a decaying exponential ∫ m dt = T2* (m(start) − m(end)). With Simpson's rule for the integrals both
    sides are linear in the data, and the fit over all triples of echoes is closed-form.

    Args:
        magnitude: any unit, shape ``(x, y, z, echo)``.
        mask: where to fit.
        acquisition: three evenly spaced echo times at least; the field strength is not used.

    Returns:
        R2* in 1/s, 0 to 2000, zero outside the mask. Closed form, differentiable.

    Raises:
        ValueError: fewer than three echoes, or times that are not even (which is not seen under ``jit``).

    References:
        Pei et al. 2015, MRM 73:843, doi:10.1002/mrm.25137.

    Example:
        >>> acquisition = Acquisition((0.004, 0.008, 0.012, 0.016), 3.0)
        >>> magnitude = jnp.exp(-30 * acquisition.echo_times) * jnp.ones((4, 4, 4, 1))
        >>> rate = arlo(magnitude, jnp.ones((4, 4, 4), bool), acquisition)
        >>> bool(jnp.allclose(rate, 30, rtol=0.01))  # 1/s
        True
    """
    if magnitude.shape[-1] < 3:
        raise ValueError(f"arlo needs three echoes at least, got {magnitude.shape[-1]}; use log_linear")
    if not isinstance(acquisition.echo_times, jax.core.Tracer):
        steps = np.diff(np.asarray(acquisition.echo_times))
        if np.ptp(steps) > UNEVEN * steps.mean():
            raise ValueError("arlo needs evenly spaced echo times; use log_linear or nonlinear")
    return _fit(magnitude, mask, acquisition)


@jax.jit
def _fit(magnitude: Array, mask: Array, acquisition: Acquisition) -> Array:
    scaled = relative(magnitude)
    spacing = acquisition.echo_times[1] - acquisition.echo_times[0]
    first, middle, last = scaled[..., :-2], scaled[..., 1:-1], scaled[..., 2:]
    integral = spacing / 3 * (first + 4 * middle + last)
    fall = first - last
    # Least squares of both the integral on the fall and the fall on the integral, as published.
    numerator = (spacing / 3 * fall**2 + integral * fall).sum(-1)
    denominator = (integral**2 + spacing / 3 * integral * fall).sum(-1)
    return bounded(numerator / jnp.where(denominator > 0, denominator, 1), mask)
