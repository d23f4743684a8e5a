"""Lesions, vessels and implants: bodies painted over tissue, each with values of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Bodies(NamedTuple):
    """A stack of rounded bodies: capsules (``end`` differs from ``start``) and lumpy ellipsoids.

    Attributes:
        start: mm, first end of the axis; the centre of an ellipsoid.
        end: mm, second end.
        radii: mm, half axes along x, y, z; equal for capsules.
        lumpiness: relative standard deviation of the surface from round, 0 for smooth.
        values: what a body is made of: χ (ppm), proton density, T1 (s), R2* (1/s).
        within: 1 paints within the skull alone, −1 outside it alone, 0 everywhere.
        strength: part of the tissue that is replaced; 0 leaves a body out.
    """

    start: Float[Array, "body 3"]
    end: Float[Array, "body 3"]
    radii: Float[Array, "body 3"]
    lumpiness: Float[Array, body]
    values: Float[Array, "body 4"]
    within: Float[Array, body]
    strength: Float[Array, body]


def stack(*groups: Bodies) -> Bodies:
    """Stack several bodies into one."""
    return Bodies(*[jnp.concatenate(arrays) for arrays in zip(*groups, strict=True)])


def paint(
    maps: Float[Array, "map x y z"],
    bodies: Bodies,
    origin: Float[Array, 3],
    voxel_size: Float[Array, 3],
    *,
    box: Sequence[int],
) -> Float[Array, "map x y z"]:
    """Paint bodies in turn over maps of χ, proton density, T1 and R2*, and take them off parts of tissues.

    Args:
        maps: the four maps; then any number of parts of voxels that bodies replace; last the part within the
            skull, which is read, not changed.
        bodies: what to paint.
        origin: mm, centre of the first voxel.
        voxel_size: mm.
        box: voxels an axis that each body is painted in; must hold the largest body.

    Returns:
        The maps. Voxels at a surface are filled in part.
    """
    shape = maps.shape[1:]
    size = tuple(min(b, n) for b, n in zip(box, shape, strict=True))
    steps = jnp.meshgrid(*[jnp.arange(float(n)) for n in size], indexing="ij")

    def one(maps: Array, body: Bodies) -> Array:
        middle = (body.start + body.end) / 2
        first = jnp.round((middle - origin) / voxel_size).astype(jnp.int32) - jnp.array(size) // 2
        first = jnp.clip(first, 0, jnp.array(shape) - jnp.array(size))
        window = (jnp.int32(0), *first)
        part = jax.lax.dynamic_slice(maps, window, (len(maps), *size))
        position = [origin[i] + (first[i] + steps[i]) * voxel_size[i] for i in range(3)]
        filled = body.strength * _filled(body, position, jnp.min(voxel_size))
        skull = part[-1]
        filled = filled * jnp.where(body.within > 0, skull, jnp.where(body.within < 0, 1 - skull, 1.0))
        painted = part[:-1] * (1 - filled)
        painted = painted.at[:4].add(body.values[:, None, None, None] * filled)
        return jax.lax.dynamic_update_slice(maps, jnp.concatenate([painted, part[-1:]]), window)

    def where_needed(maps: Array, body: Bodies) -> tuple[Array, None]:
        reach = 1.5 * jnp.max(body.radii) + jnp.max(voxel_size)
        last = origin + voxel_size * jnp.array(shape)
        low, high = jnp.minimum(body.start, body.end) - reach, jnp.maximum(body.start, body.end) + reach
        needed = (body.strength > 0) & jnp.all((high > origin) & (low < last))
        return jax.lax.cond(needed, one, lambda maps, _: maps, maps, body), None

    return jax.lax.scan(where_needed, maps, bodies)[0]


def _filled(body: Bodies, position: Sequence[Array], voxel: Array) -> Array:
    """Part of each voxel within the body: 1 inside, falling to 0 over one voxel at the surface."""
    axis = body.end - body.start
    offset = [position[i] - body.start[i] for i in range(3)]
    length = jnp.maximum(jnp.sum(axis**2), 1e-6)
    along = jnp.clip(sum(offset[i] * axis[i] for i in range(3)) / length, 0, 1)
    away = [offset[i] - along * axis[i] for i in range(3)]
    level = jnp.sqrt(sum((away[i] / body.radii[i]) ** 2 for i in range(3)) + 1e-12)
    # Three plane waves, a body wide, whose phases follow from its place: lumps without a random key.
    lumps = sum(
        jnp.sin(
            2.5 * (away[i] / body.radii[i] + away[(i + 1) % 3] / body.radii[(i + 1) % 3])
            + 1.7 * body.start[i]
        )
        for i in range(3)
    )
    level = level * (1 + body.lumpiness * lumps / 3)
    thickness = jnp.min(body.radii)
    inwards = (1 - level) * thickness / voxel
    # A vessel thinner than a voxel fills it in proportion to its section.
    thin = jnp.minimum(1.0, (2 * thickness / voxel) ** 2)
    return thin * jnp.clip(0.5 + inwards, 0, 1)
