"""Padded grid, data weights, and the reference of χ, shared by all inversions."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.operators import fast_shape, irfftn, rfftn
from jaxqsm.operators.padding import Shape

MARGIN = 0.25
"""Zeros added beyond the image, as a part of its length, so that χ does not act across the border
of the periodic grid. At a quarter, a source feels its periodic image at less than 1 % of the field
it makes at its own surface."""


def padded_shape(shape: tuple[int, ...]) -> Shape:
    """Find the FFT-friendly grid with a margin of zeros."""
    return fast_shape(shape, [round(MARGIN * n) for n in shape])


def confidence(
    weights: Float[Array, "x y z"] | None, magnitude: Float[Array, "x y z"] | None
) -> Float[Array, "x y z"] | None:
    """Choose what weighs the data: the weights, or the magnitude where they are not given."""
    return magnitude if weights is None else weights


def data_weights(
    mask: Bool[Array, "x y z"],
    weights: Float[Array, "x y z"] | None,
    magnitude: Float[Array, "x y z"] | None = None,
) -> Float[Array, "x y z"]:
    """Scale the confidence in the field to a root mean square of 1 in the mask; 1 without any.

    Args:
        mask: where the field is valid; zero outside.
        weights: confidence in the field of each voxel, any unit.
        magnitude: image, any unit, which is the confidence where ``weights`` are not given.
    """
    chosen = confidence(weights, magnitude)
    inside = mask.astype(float)
    if chosen is None:
        return inside
    scaled = jnp.abs(chosen) * inside
    mean_square = jnp.sum(scaled**2) / jnp.maximum(inside.sum(), 1)
    # Above three times the typical signal more magnitude is no more certainty (vessels, coil rims).
    return jnp.minimum(scaled / jnp.sqrt(jnp.where(mean_square > 0, mean_square, 1)), 3.0)


def filtered(
    field: Float[Array, "x y z"], mask: Bool[Array, "x y z"], response: Float[Array, "X Y H"]
) -> Float[Array, "x y z"]:
    """Filter the field on the half spectrum of the padded grid: two real FFTs."""
    shape = padded_shape(field.shape)
    spectrum = rfftn(field, shape) * response
    return referenced(irfftn(spectrum, shape, field.shape), mask)


def regularised_inverse(
    kernel: Float[Array, "X Y H"], penalty: Float[Array, "X Y H"]
) -> Float[Array, "X Y H"]:
    """Compute D / (D² + penalty), the response of closed-form inversion; zero where both are."""
    divisor = kernel**2 + penalty
    return kernel / jnp.where(divisor > 0, divisor, 1)  # k = 0, where the kernel is zero as well


def referenced(chi: Float[Array, "x y z"], mask: Bool[Array, "x y z"]) -> Float[Array, "x y z"]:
    """Reference χ to its mean in the mask; zero outside."""
    return from_mean(chi, mask) * mask.astype(chi.dtype)


def from_mean(chi: Float[Array, "x y z"], mask: Bool[Array, "x y z"]) -> Float[Array, "x y z"]:
    """Reference χ to its mean in the mask, everywhere."""
    inside = mask.astype(chi.dtype)
    return chi - jnp.sum(chi * inside) / jnp.maximum(inside.sum(), 1)
