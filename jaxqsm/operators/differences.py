"""Finite differences, their exact adjoint, and the Laplacian."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm.geometry import Geometry

Boundary = Literal["periodic", "neumann"]
Volume = Float[Array, "x y z"]
Vectors = tuple[Volume, Volume, Volume]
"""A vector field as three arrays: stacked into one, XLA on the CPU would copy and shuffle it, which
makes the same arithmetic up to fifteen times slower."""


def gradient(image: Float[Array, "x y z"], geometry: Geometry, *, boundary: Boundary = "periodic") -> Vectors:
    """Compute forward differences along the three axes, per mm.

    Args:
        image: shape ``(x, y, z)``, any unit.
        geometry: voxel size in mm; differentiable.
        boundary: ``"periodic"`` (default: diagonal in k-space, as the solvers need) wraps the last
            difference; ``"neumann"`` sets it to zero.

    Returns:
        Three arrays ``(x, y, z)``, one a direction, unit of ``image`` per mm.
    """
    x, y, z = (_forward(image, axis, boundary) / geometry.voxel_size[axis] for axis in range(3))
    return x, y, z


def divergence(
    vectors: Vectors, geometry: Geometry, *, boundary: Boundary = "periodic"
) -> Float[Array, "x y z"]:
    """Compute minus the adjoint of :func:`gradient`: summed backward differences, per mm."""
    return sum(_backward(vectors[axis], axis, boundary) / geometry.voxel_size[axis] for axis in range(3))  # type: ignore[return-value]


def laplacian(
    image: Float[Array, "x y z"], geometry: Geometry, *, boundary: Boundary = "periodic"
) -> Float[Array, "x y z"]:
    """Compute second differences (7 points) per mm²; equals the divergence of the gradient."""
    return divergence(gradient(image, geometry, boundary=boundary), geometry, boundary=boundary)


def squared_length(vectors: Vectors) -> Float[Array, "*batch x y z"]:
    """Compute the squared length of the vectors of each voxel, Σ v²."""
    x, y, z = vectors
    return x**2 + y**2 + z**2


def squared_steepness(vectors: Vectors) -> Float[Array, "x y z"]:
    """Compute the squared length of a gradient, averaged over both sides of each voxel and axis.

    Args:
        vectors: differences to the next voxel, as :func:`gradient` gives them.
    """
    return sum(0.5 * (v**2 + jnp.roll(v, 1, axis) ** 2) for axis, v in enumerate(vectors))  # type: ignore[return-value]


SYMMETRIC_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Rows and columns of the entries of a field of symmetric matrices, the diagonal first."""


def symmetric_gradient(vectors: Vectors, geometry: Geometry) -> tuple[Volume, ...]:
    """Compute (∂ᵢwⱼ + ∂ⱼwᵢ) / 2 of the six :data:`SYMMETRIC_PAIRS` by periodic differences, per mm.

    Components lie on the faces between voxels, as :func:`gradient` gives them. Their differences along
    themselves lie at the voxels, those across on edges, so that no axis or sense is preferred.
    """

    def along(axis: int) -> Volume:
        return _backward(vectors[axis], axis, "periodic") / geometry.voxel_size[axis]

    def across(component: int, axis: int) -> Volume:
        return _forward(vectors[component], axis, "periodic") / geometry.voxel_size[axis]

    return tuple(along(i) if i == j else 0.5 * (across(j, i) + across(i, j)) for i, j in SYMMETRIC_PAIRS)


def symmetric_gradient_adjoint(matrix: tuple[Volume, ...], geometry: Geometry) -> Vectors:
    """Apply the adjoint of :func:`symmetric_gradient`, off-diagonal pairs counted twice."""
    vectors: list[Volume] = [jnp.zeros_like(matrix[0])] * 3
    for (i, j), entry in zip(SYMMETRIC_PAIRS, matrix, strict=True):
        for component, axis in ((i, j),) if i == j else ((i, j), (j, i)):
            back = _forward if i == j else _backward
            difference = back(entry, axis, "periodic") / geometry.voxel_size[axis]
            vectors[component] = vectors[component] - difference
    x, y, z = vectors
    return x, y, z


def _forward(image: Array, axis: int, boundary: Boundary) -> Array:
    difference = jnp.roll(image, -1, axis) - image
    return difference if boundary == "periodic" else _zero_last(difference, axis)


def _backward(image: Array, axis: int, boundary: Boundary) -> Array:
    if boundary == "neumann":
        image = _zero_last(image, axis)
    return image - jnp.roll(image, 1, axis)


def _zero_last(image: Array, axis: int) -> Array:
    last = [slice(None)] * image.ndim
    last[axis] = slice(-1, None)
    return image.at[tuple(last)].set(0)
