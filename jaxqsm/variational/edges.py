"""Edge weighting: edges of an image are masked out of the penalty on gradients."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import gradient, pad, quantile
from jaxqsm.operators.differences import Vectors
from jaxqsm.operators.padding import Shape
from jaxqsm.solvers import shrink as shrink_values
from jaxqsm.variational.admm import Shrink

Smooth = tuple[Bool[Array, "x y z"], Bool[Array, "x y z"], Bool[Array, "x y z"]]
"""For each direction, where there is no edge across it."""


def differences_without_edges(
    image: Float[Array, "x y z"], mask: Bool[Array, "x y z"], geometry: Geometry, *, edges: ArrayLike
) -> Smooth:
    """Mark all but the steepest differences of an image between neighbours in the mask.

    Args:
        image: any unit.
        mask: beyond it everything is smooth.
        geometry: voxel size.
        edges: part of all differences that are edges, 0 to 1.

    Returns:
        Three masks, one a direction.
    """
    differences = [jnp.abs(g) for g in gradient(image, geometry)]
    # The last voxel of an axis has no neighbour beyond it.
    joined = [mask & jnp.roll(mask, -1, axis).at[_last(axis)].set(False) for axis in range(3)]
    steep = quantile(jnp.stack(differences), jnp.stack(joined), 1 - edges)
    x, y, z = (~j | (d <= steep) for j, d in zip(joined, differences, strict=True))
    return x, y, z


def _last(axis: int) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(-1, None))


def edge_weighted_shrink(
    image: Float[Array, "x y z"] | None,
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    shape: Shape,
    *,
    edges: ArrayLike,
) -> Shrink:
    """Make the proximal map of Σ |M ∇χ|₁, edge-weighted by an image (none: M = 1).

    Args:
        image: any unit, or None.
        mask: beyond it everything is smooth.
        geometry: voxel size.
        shape: of the padded grid.
        edges: part of all differences that are edges, 0 to 1.
    """
    image = jnp.ones(mask.shape) if image is None else image
    return masked_shrink(differences_without_edges(image, mask, geometry, edges=edges), shape)


def masked_shrink(smooth: Smooth, shape: Shape) -> Shrink:
    """Make the proximal map of Σ |M ∇χ|₁ on a padded grid, M given as three masks."""
    penalised = tuple(~pad(~s, shape) for s in smooth)  # beyond the array all is smooth

    def shrink(vectors: Vectors, threshold: ArrayLike) -> Vectors:
        within = tuple(jnp.where(p, v, 0) for p, v in zip(penalised, vectors, strict=True))
        shorter = shrink_values(within, threshold)
        x, y, z = (jnp.where(p, s, v) for p, s, v in zip(penalised, shorter, vectors, strict=True))
        return x, y, z

    return shrink
