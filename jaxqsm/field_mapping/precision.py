"""Precision of the field of each voxel."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm.geometry import Acquisition


def precision(magnitude: Float[Array, "x y z echo"], acquisition: Acquisition) -> Float[Array, "x y z"]:
    """Compute one over the standard deviation of the fitted field, in signal over noise per ppm.

    Phase noise is noise over magnitude, so a fit over echoes has precision √Σ (magnitude · phase per
    ppm)². This is what background removal and inversion weight by.

    Args:
        magnitude: in units of the noise's standard deviation, or any other (then relative).
        acquisition: echo times and field strength.

    Returns:
        Precision in 1/ppm.

    References:
        Robinson et al. 2017, NMR Biomed 30:e3601, doi:10.1002/nbm.3601.
    """
    squared = jnp.sum((magnitude * acquisition.phase_per_ppm) ** 2, axis=-1)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1)), 0)
