"""Susceptibility-weighted imaging by susceptibility."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def true_swi(
    chi: Float[Array, "x y z"],
    magnitude: Float[Array, "x y z"],
    *,
    lowest: float = 0.0,
    highest: float = 0.45,
    power: int = 2,
) -> Float[Array, "x y z"]:
    """Multiply the magnitude by the susceptibility mask (1 − (χ − lowest) / (highest − lowest))^power.

    Use it where a map of χ exists, free of the field's non-local effects.

    Unlike phase, χ does not depend on the direction of a vein, and is not beside it.

    Args:
        chi: ppm.
        magnitude: any unit.
        lowest: ppm, up to which nothing changes. Default 0.
        highest: ppm, from which on nothing is left. Default 0.45, χ of venous blood.
        power: how often the mask is multiplied. Default 2, as published.

    Returns:
        Unit of the magnitude. Differentiable.

    References:
        Liu, Mok, Haacke 2014, NMR Biomed 27:1211, doi:10.1002/nbm.3179.

    Example:
        >>> float(true_swi(jnp.array(0.225), jnp.array(1.0)))
        0.25
    """
    return magnitude * jnp.clip((highest - chi) / (highest - lowest), 0, 1) ** power
