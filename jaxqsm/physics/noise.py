"""Receiver noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Complex, Float, PRNGKeyArray

from jaxqsm.operators import quantile

DIFFERENCES = (1.0, -4.0, 6.0, -4.0, 1.0)
"""Fourth differences of five neighbours, which vanish for polynomials of third order."""

MEDIAN_OF_NORMAL = 0.6745
"""Median size of a normal number of unit standard deviation."""


def add_complex_noise(
    signal: Complex[Array, ...], standard_deviation: ArrayLike, *, key: PRNGKeyArray
) -> Complex[Array, ...]:
    """Add white Gaussian noise to the real and the imaginary channel.

    Args:
        key: JAX random key.
        signal: complex signal, any shape.
        standard_deviation: of each channel, unit of ``signal``, broadcastable. At magnitude A, the
            phase noise is then about ``standard_deviation / A`` rad.

    Returns:
        Noisy complex signal of the same shape.

    References:
        Gudbjartsson & Patz 1995, MRM 34:910, doi:10.1002/mrm.1910340618 (the Rician magnitude).
    """
    channels = jax.random.normal(key, (2, *signal.shape), dtype=signal.real.dtype)
    return signal + jnp.asarray(standard_deviation) * (channels[0] + 1j * channels[1])


def field_noise(
    field: Float[Array, "x y z"], weights: Float[Array, "x y z"], mask: Bool[Array, "x y z"]
) -> Float[Array, ""]:
    """Estimate the standard deviation of white noise in a field, where its weight is 1.

    The median size of weighted fourth differences along the axis where it is least. Fields of tissue are
    smooth but at a few vessels and edges, which a median does not feel. What texture there is counts as
    noise: low noise is overestimated.

    Args:
        field: any unit.
        weights: one over the noise of each voxel, in the unit that the result has of it.
        mask: where the field is valid.

    Returns:
        In the unit of the field; 0 where no five neighbours lie in the mask.

    References:
        Donoho & Johnstone 1994, Biometrika 81:425, doi:10.1093/biomet/81.3.425 (median of wavelets).
    """
    norm = sum(c**2 for c in DIFFERENCES) ** 0.5
    reach = len(DIFFERENCES) // 2

    def along(axis: int) -> Array:
        widths = [(reach, reach) if other == axis else (0, 0) for other in range(3)]
        wide, inside = jnp.pad(field, widths), jnp.pad(mask, widths)

        def shifted(image: Array, by: int) -> Array:
            return jax.lax.slice_in_dim(image, by, by + field.shape[axis], axis=axis)

        difference = sum(c * shifted(wide, by) for by, c in enumerate(DIFFERENCES))
        known = jnp.stack([shifted(inside, by) for by in range(len(DIFFERENCES))]).all(0)
        median = quantile(jnp.abs(weights * difference), known, 0.5)
        return jnp.where(known.any(), median / (MEDIAN_OF_NORMAL * norm), jnp.inf)

    least = jnp.min(jnp.stack([along(axis) for axis in range(3)]))
    return jnp.where(jnp.isfinite(least), least, 0)
