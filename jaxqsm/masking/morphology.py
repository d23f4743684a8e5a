"""Morphological operations on masks, in millimetres."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int
from scipy import ndimage

from jaxqsm.geometry import Geometry
from jaxqsm.operators import gaussian_mean, without_border
from jaxqsm.operators.on_host import host_on_cpu
from jaxqsm.operators.spanning_forest import NONE, along, spanning_forest

FAR = 1e12
"""mm², squared distance of what is nowhere."""


def largest(mask: Bool[Array, "x y z"]) -> Bool[Array, "x y z"]:
    """Keep the largest face-connected part of a mask."""
    return _most_common(_parts(mask), mask)


@jax.jit
def _most_common(part: Int[Array, "x y z"], mask: Bool[Array, "x y z"]) -> Bool[Array, "x y z"]:
    voxels = jnp.zeros(part.size + 1, jnp.int32).at[part.ravel()].add(mask.ravel())
    return mask & (part == jnp.argmax(voxels))


def without_holes(mask: Bool[Array, "x y z"]) -> Bool[Array, "x y z"]:
    """Fill what no way by faces joins to the border of the array."""
    part = _parts(jnp.pad(~jnp.asarray(mask), 1, constant_values=True))
    return (part != part[0, 0, 0])[1:-1, 1:-1, 1:-1]


def depth(
    mask: Bool[Array, "x y z"], geometry: Geometry, *, reach: ArrayLike = np.inf
) -> Float[Array, "x y z"]:
    """Measure the distance in mm to the nearest voxel outside ``mask``.

    Args:
        mask: what lies beyond the array is not outside.
        geometry: voxel size in mm.
        reach: mm; distances above it may come out too large. Default: none does.

    Returns:
        0 outside, the diagonal of the array where nothing is outside.
    """
    kind = jax.ShapeDtypeStruct(jnp.shape(mask), jnp.float32)
    far: Array = host_on_cpu(
        _depth_on_host, _depth, kind, mask, geometry.voxel_size, jnp.asarray(reach, jnp.float32)
    )
    return far


def near(mask: Bool[Array, "x y z"], radius: ArrayLike, geometry: Geometry) -> Bool[Array, "x y z"]:
    """Grow ``mask`` by ``radius`` mm."""
    return depth(~mask, geometry, reach=radius) <= radius


def closed(mask: Bool[Array, "x y z"], radius: ArrayLike, geometry: Geometry) -> Bool[Array, "x y z"]:
    """Fill gaps of ``mask`` that are narrower than twice ``radius`` mm."""
    return mask | (depth(near(mask, radius, geometry), geometry, reach=radius) > radius)


def finished(
    mask: Bool[Array, "x y z"], geometry: Geometry, *, gaps: ArrayLike, erosion: ArrayLike | None
) -> Bool[Array, "x y z"]:
    """Fill gaps of half width ``gaps`` mm and holes, then take off ``erosion`` as :func:`peeled` does."""
    return peeled(without_holes(closed(mask, gaps, geometry)), erosion, geometry)


def peeled(mask: Bool[Array, "x y z"], erosion: ArrayLike | None, geometry: Geometry) -> Bool[Array, "x y z"]:
    """Take ``erosion`` mm off a mask, or one layer of voxels where it is None.

    Nothing is taken off at the array's border, where the object may go on.
    """
    if erosion is None:
        return without_border(jnp.pad(mask, 1, mode="edge"))[1:-1, 1:-1, 1:-1]
    return depth(mask, geometry, reach=erosion) > erosion


def smoothed(
    image: Float[Array, "x y z"], standard_deviation: ArrayLike, geometry: Geometry
) -> Float[Array, "x y z"]:
    """Smooth by a Gaussian, in mm, as if the image went on beyond the array as inside."""
    inside = gaussian_mean(jnp.ones_like(image), standard_deviation, geometry)
    return gaussian_mean(image, standard_deviation, geometry) / inside


def refuse_constant(image: Float[Array, ...], name: str) -> None:
    """Refuse an image that shows nothing, where its values are known, which they are not under ``jit``.

    Raises:
        ValueError: all values are the same.
    """
    if not isinstance(image, jax.core.Tracer) and not image.max() > image.min():
        raise ValueError(f"the {name} is constant, so no mask can be found; pass a mask")


def found(mask: Bool[Array, "x y z"], message: str) -> Bool[Array, "x y z"]:
    """Return a mask; refuse an empty one where its voxels are known, which they are not under ``jit``.

    Raises:
        ValueError: the mask is empty.
    """
    if not isinstance(mask, jax.core.Tracer) and not mask.any():
        raise ValueError(message)
    return mask


def _parts(mask: Bool[Array, "x y z"]) -> Int[Array, "x y z"]:
    """Number the face-connected parts of a mask by whole numbers up to that of the voxels."""
    kind = jax.ShapeDtypeStruct(jnp.shape(mask), jnp.int32)
    parts: Array = host_on_cpu(_parts_on_host, _joined, kind, mask)
    return parts


def _parts_on_host(mask: ArrayLike) -> np.ndarray:
    return ndimage.label(np.asarray(mask))[0].astype(np.int32)


def _joined(mask: Array) -> Array:
    edges = [mask & along(mask, axis) for axis in range(3)]
    return spanning_forest(jnp.zeros(mask.shape), jnp.where(jnp.stack(edges), 0, NONE)).part


def _depth_on_host(mask: ArrayLike, voxel_size: ArrayLike, reach: ArrayLike) -> np.ndarray:
    del reach
    inside, sides = np.asarray(mask), np.asarray(voxel_size, float)
    if inside.all():
        return np.full(inside.shape, np.linalg.norm(inside.shape * sides), np.float32)
    return ndimage.distance_transform_edt(inside, sampling=sides).astype(np.float32)


def _depth(mask: Array, voxel_size: Array, reach: Array) -> Array:
    """Squared distances axis by axis: the least over a line of those before plus the square of the way."""
    squared = jnp.where(mask, jnp.float32(FAR), 0)
    for axis in range(3):
        squared = _along_lines(squared, axis, voxel_size[axis], reach)
    diagonal = jnp.linalg.norm(voxel_size * jnp.array(mask.shape))
    return jnp.where(squared < FAR, jnp.sqrt(squared), diagonal).astype(jnp.float32)


def _along_lines(squared: Array, axis: int, side: Array, reach: Array) -> Array:
    length = squared.shape[axis]
    ends = [(length, length) if i == axis else (0, 0) for i in range(3)]
    padded = jnp.pad(squared, ends, constant_values=FAR)

    def unfinished(state: tuple[Array, Array]) -> Array:
        steps, least = state
        way = steps * side
        return (steps < length) & (way <= reach) & (way**2 < least.max())

    def nearer(state: tuple[Array, Array]) -> tuple[Array, Array]:
        steps, least = state
        for start in (length - steps, length + steps):
            other = jax.lax.dynamic_slice_in_dim(padded, start, length, axis)
            least = jnp.minimum(least, other + (steps * side) ** 2)
        return steps + 1, least

    return jax.lax.while_loop(unfinished, nearer, (jnp.array(1), squared))[1]
