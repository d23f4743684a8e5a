"""Receiver noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Complex, PRNGKeyArray


def add_complex_noise(
    key: PRNGKeyArray, signal: Complex[Array, ...], standard_deviation: ArrayLike
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
