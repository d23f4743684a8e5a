"""Poisson's equation with the Laplacian known in a mask, for HARPERELLA and iHARPERELLA."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import (
    MaskedVolume,
    crop,
    fast_shape,
    irfftn,
    laplacian,
    laplacian_symbol,
    pad,
    rfftn,
    without_border,
)
from jaxqsm.operators.padding import Shape


class LaplacianProblem(NamedTuple):
    """Laplacians on a padded grid.

    Attributes:
        inner: minus the Laplacian of the total field where it is known, zero elsewhere.
        known: where it is.
        poisson: from minus a Laplacian to the field, two FFTs.
        shape: of the grid.
        valid: where the Laplacian is known, on the grid of the scan.
    """

    inner: Float[Array, "X Y Z"]
    known: Bool[Array, "X Y Z"]
    poisson: Callable[[Array], Array]
    shape: Shape
    valid: Bool[Array, "x y z"]

    @property
    def outside(self) -> Bool[Array, "X Y Z"]:
        return ~self.known

    def to_scan_grid(self, sources: Array) -> MaskedVolume:
        """Solve for the field of the known Laplacian and of these sources outside."""
        local = self.poisson(self.inner + self.outside * sources)
        return MaskedVolume(crop(local, self.valid.shape) * self.valid, self.valid)


def laplacian_problem(
    total_field: Float[Array, "x y z"], mask: Bool[Array, "x y z"], geometry: Geometry
) -> LaplacianProblem:
    """State the problem on a grid with room for sources outside the mask."""
    shape = fast_shape(mask.shape, [max(8, n // 8) for n in mask.shape])
    valid = without_border(mask)
    known = pad(valid, shape)
    symbol = laplacian_symbol(shape, geometry)
    divisor = jnp.where(symbol > 0, symbol, jnp.inf)

    def poisson(image: Array) -> Array:
        return irfftn(rfftn(image) / divisor, shape)

    inner = -laplacian(pad(total_field * mask, shape), geometry) * known
    return LaplacianProblem(inner, known, poisson, shape, valid)
