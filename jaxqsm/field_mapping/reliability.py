"""Agreement of the echoes of each voxel on one field."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm.geometry import Acquisition


@jax.jit
def reliability(
    phase: Float[Array, "x y z echo"],
    magnitude: Float[Array, "x y z echo"],
    total_field: Float[Array, "x y z"],
    acquisition: Acquisition,
) -> Float[Array, "x y z"]:
    """Compute the coherence |Σ magnitude² exp(i residual)| / Σ magnitude² of the fitted echoes.

    The residual is the phase that the field does not explain. A voxel unwrapped by an unwrapping error, or
    one whose phase is noise, does not fall on one line through its echoes: most such voxels are far below the
    others.

    Args:
        phase: rad, without phase offset; 2π multiples do not matter.
        magnitude: any unit.
        total_field: ppm, from :func:`~jaxqsm.field_mapping.weighted_fit`.
        acquisition: echo times and field strength.

    Returns:
        From 0 to 1; 1 for a single echo, which cannot disagree, and 0 without any signal. A constant
        in the residual does not count, so a residual phase offset does no harm.
    """
    residual = phase - total_field[..., None] * acquisition.phase_per_ppm
    weights = magnitude**2
    total = weights.sum(-1)
    real = (weights * jnp.cos(residual)).sum(-1)
    imaginary = (weights * jnp.sin(residual)).sum(-1)
    squared = real**2 + imaginary**2
    # The inner `where`s keep gradients finite where there is no signal.
    length = jnp.sqrt(jnp.where(squared > 0, squared, 1))
    return jnp.where(squared > 0, length / jnp.where(total > 0, total, 1), 0)
