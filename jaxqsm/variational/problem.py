"""Inversion problem: field, weights and kernel on a padded grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import crop, erode, gradient, irfftn, pad, rfftn, spherical_kernel, weighted_mean
from jaxqsm.operators.differences import Vectors
from jaxqsm.operators.padding import Shape
from jaxqsm.physics import dipole_convolve, dipole_kernel
from jaxqsm.variational.common import data_weights, padded_shape, referenced

NEAR = 4.0
"""mm: voxels without weight take the mean of those that have some within it."""

Volume = Float[Array, "X Y Z"]


class InversionProblem(NamedTuple):
    """An inversion on its padded grid.

    Field, weights and kernel may have one more axis in front: several measurements of one χ, of which
    :func:`~jaxqsm.variational.total_variation_admm` takes account of all.

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
        """Shape of the padded grid."""
        x, y, z = self.field.shape[-3:]
        return x, y, z

    @property
    def confidence(self) -> Volume:
        """Square root of the weights, whose slope is 0 where they are."""
        known = self.weights > 0
        return jnp.where(known, jnp.sqrt(jnp.where(known, self.weights, 1)), 0)

    @property
    def known_field(self) -> Volume:
        """The field, zero where it has no weight, so that no arbitrary value slows convergence."""
        return jnp.where(self.weights > 0, self.field, 0)

    def filled(self) -> Volume:
        """Fill voxels without weight by the mean of their neighbours, before SMV filtering."""
        known_field = (self.weights > 0).astype(self.field.dtype)
        near = weighted_mean(self.field, known_field, NEAR, self.geometry)
        return jnp.where(self.weights > 0, self.field, near * pad(self.mask, self.shape))

    def split(self, start: Array | None) -> tuple[Vectors, Volume]:
        """Compute gradient and field of a start, on the scan's grid or the padded one.

        Without one: no gradient, and the field as measured.
        """
        if start is None:
            zeros = jnp.zeros(self.shape, self.field.dtype)
            return (zeros, zeros, zeros), self.known_field
        spectrum = rfftn(start, self.shape)
        predicted = irfftn(spectrum * self.kernel, self.shape)
        return gradient(pad(start, self.shape), self.geometry), predicted

    def to_scan_grid(self, chi: Volume) -> Float[Array, "x y z"]:
        """Crop χ to the grid of the scan, relative to its mean in the mask."""
        return referenced(crop(chi, self.mask.shape), self.mask)


def inversion_problem(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    weights: Float[Array, "x y z"] | None,
    magnitude: Float[Array, "x y z"] | None = None,
    *,
    shape: Shape | None = None,
) -> InversionProblem:
    """State the problem of an inversion's arguments on a padded grid."""
    shape = padded_shape(local_field.shape) if shape is None else shape
    return InversionProblem(
        field=pad(local_field * mask, shape),
        weights=pad(data_weights(mask, weights, magnitude) ** 2, shape),
        kernel=dipole_kernel(shape, geometry),
        geometry=geometry,
        mask=mask,
    )


def smv_filtered(given: InversionProblem, radius: float) -> InversionProblem:
    """Filter field and kernel by δ minus the SMV kernel, which removes any background.

    Args:
        given: the problem.
        radius: of the SMV kernel in mm.

    Returns:
        Field and kernel filtered, weights and mask eroded by the kernel.
    """
    response = 1 - rfftn(spherical_kernel(given.shape, radius, given.geometry)).real
    fits = erode(given.mask, radius, given.geometry)
    inside = pad(fits, given.shape)
    return given._replace(
        field=dipole_convolve(given.field, response, given.shape) * inside,
        weights=given.weights * inside,
        kernel=given.kernel * response,
        mask=fits,
    )


def smv_filtered_by_radii(given: InversionProblem, radii: Sequence[float]) -> InversionProblem:
    """Filter by several SMV kernels; every voxel counts with the largest that fits about it.

    Args:
        given: the problem.
        radii: in mm.

    Returns:
        Fields, weights and kernels with an axis of kernels in front; the mask is that of the smallest.
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
