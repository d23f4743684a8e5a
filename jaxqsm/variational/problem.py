"""What an inversion is given: its field, the confidence in it and the response to χ, on a padded grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import crop, erode, gradient, pad, spherical_kernel, weighted_mean
from jaxqsm.operators.differences import Vectors
from jaxqsm.operators.padding import Shape
from jaxqsm.physics import dipole_convolve, dipole_kernel
from jaxqsm.variational.common import data_weights, padded_shape, referenced

SPACE = (-3, -2, -1)
"""Axes of space, whatever stands before them."""

NEAR = 4.0
"""mm: voxels without weight take the mean of those that have some within it."""

Volume = Float[Array, "X Y Z"]


class InversionProblem(NamedTuple):
    """An inversion on its padded grid.

    Field, weights and kernel may have one more axis in front: several measurements of one χ, of which
    :func:`total_variation_admm` takes account of all.

    Attributes:
        field: ppm, zero outside the mask.
        weights: square of the confidence in it, zero outside the mask.
        kernel: response of the field to χ on the half spectrum.
        geometry: voxel size and field direction.
        mask: of the scan, not padded.
    """

    field: Volume
    weights: Volume
    kernel: Float[Array, "X Y H"]
    geometry: Geometry
    mask: Bool[Array, "x y z"]

    @property
    def shape(self) -> Shape:
        """Of the padded grid."""
        x, y, z = self.field.shape[-3:]
        return x, y, z

    @property
    def known_field(self) -> Volume:
        """The field, zero where it has no weight: what is there would be forgotten slowly."""
        return jnp.where(self.weights > 0, self.field, 0)

    def filled(self) -> Volume:
        """The field, with a guess where it has no weight: what is there would enter every ball about it."""
        known_field = (self.weights > 0).astype(self.field.dtype)
        near = weighted_mean(self.field, known_field, NEAR, self.geometry)
        return jnp.where(self.weights > 0, self.field, near * pad(self.mask, self.shape))

    def split(self, start: Array | None) -> tuple[Vectors, Volume]:
        """Gradient and field of χ to begin from, which may be of the scan's grid or of the padded one.

        Without one: no gradient, and the field as measured.
        """
        if start is None:
            zeros = jnp.zeros(self.shape, self.field.dtype)
            return (zeros, zeros, zeros), self.known_field
        spectrum = jnp.fft.rfftn(pad(start, self.shape))
        predicted = jnp.fft.irfftn(spectrum * self.kernel, s=self.shape, axes=SPACE)
        return gradient(pad(start, self.shape), self.geometry), predicted

    def to_scan_grid(self, chi: Volume) -> Float[Array, "x y z"]:
        """χ of the padded grid on that of the scan, relative to its mean in the mask."""
        return referenced(crop(chi, self.mask.shape), self.mask)


def inversion_problem(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    magnitude: Float[Array, "x y z"] | None,
    weights: Float[Array, "x y z"] | None = None,
    *,
    shape: Shape | None = None,
) -> InversionProblem:
    """The problem that the arguments of an inversion state, on the usual padded grid or on another."""
    shape = padded_shape(local_field.shape) if shape is None else shape
    return InversionProblem(
        field=pad(local_field * mask, shape),
        weights=pad(data_weights(mask, magnitude, weights) ** 2, shape),
        kernel=dipole_kernel(shape, geometry),
        geometry=geometry,
        mask=mask,
    )


def smv_filtered(given: InversionProblem, radius: float) -> InversionProblem:
    """The problem behind the filter δ − ball, which removes any background, where the ball fits in the mask.

    Args:
        given: the problem.
        radius: of the ball in mm.

    Returns:
        Field and kernel filtered, weights and mask eroded by the ball.
    """
    response = 1 - jnp.fft.rfftn(spherical_kernel(given.shape, radius, given.geometry)).real
    fits = erode(given.mask, radius, given.geometry)
    inside = pad(fits, given.shape)
    return given._replace(
        field=dipole_convolve(given.field, response, given.shape) * inside,
        weights=given.weights * inside,
        kernel=given.kernel * response,
        mask=fits,
    )


def smv_filtered_by_radii(given: InversionProblem, radii: Sequence[float]) -> InversionProblem:
    """The problem behind several balls at once: every voxel counts with the largest that fits about it.

    Args:
        given: the problem.
        radii: in mm.

    Returns:
        Fields, weights and kernels with an axis of balls in front; the mask is that of the smallest ball.
    """
    valid = jnp.zeros_like(given.mask)
    each = []
    for radius in sorted(radii, reverse=True):
        one = smv_filtered(given, radius)
        each.append(one._replace(weights=one.weights * pad(~valid, given.shape)))
        valid = valid | one.mask
    return given._replace(
        field=jnp.stack([one.field for one in each]),
        weights=jnp.stack([one.weights for one in each]),
        kernel=jnp.stack([one.kernel for one in each]),
        mask=valid,
    )
