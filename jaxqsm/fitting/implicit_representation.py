"""Implicit neural representation: χ is a function of position, fitted to one field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.fitting.descent import Descent, descend
from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.data_consistency import at_unit_size
from jaxqsm.variational.common import confidence, referenced

LEVELS = (1, 2, 4, 8)
"""Spacings of the grids of features, in voxels."""

FEATURES = 4
"""Number of features of each grid."""

WIDTH = 32
"""Width of the layer between features and χ."""


class Representation(NamedTuple):
    """χ as a function of position: features interpolated from grids, and a network of two layers.

    Attributes:
        grids: of features, ``(X, Y, Z, feature)``, of falling resolution.
        first, bias, last: of the network.
        voxel_size: mm, of the scan.
        scale: ppm of an output of one.
    """

    grids: tuple[Float[Array, "X Y Z f"], ...]
    first: Float[Array, "g w"]
    bias: Float[Array, " w"]
    last: Float[Array, " w"]
    voxel_size: Float[Array, 3]
    scale: Float[Array, ""]

    def __call__(self, x: Float[Array, " x"], y: Float[Array, " y"], z: Float[Array, " z"]) -> Array:
        """χ in ppm on the grid of these coordinates, mm from the centre of the first voxel.

        They may lie between voxels, or beyond them, where the border's features go on.
        """
        features = []
        for level, grid in zip(LEVELS, self.grids, strict=True):
            for axis, positions in enumerate((x, y, z)):
                spacing = level * self.voxel_size[axis]
                matrix = _interpolation(positions / spacing, grid.shape[axis])
                grid = jnp.moveaxis(jnp.tensordot(matrix, grid, (1, axis)), 0, axis)
            features.append(grid)
        inner = jax.nn.gelu(jnp.concatenate(features, axis=-1) @ self.first + self.bias)
        return self.scale * (inner @ self.last)


@partial(jax.jit, static_argnames="max_iterations")
def implicit_representation(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    key: PRNGKeyArray | None = None,
    weight: float = 5e-4,
    learning_rate: float = 0.05,
    max_iterations: int = 300,
) -> Float[Array, "x y z"]:
    """Fit χ as a function of position to one field, with early stopping on held-out voxels.

    Use it where no training data may be used and χ is wanted between voxels.

    Features on four grids, the coarse ones found first, are interpolated to a position and made χ by a small
    network. There are no training data. :func:`represent` returns the function itself, which has a value at
    any resolution.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        key: of first weights and held-out voxels; default ``jax.random.key(0)``.
        weight: of total variation besides, ppm · mm for a field of 0.02 ppm. Default 5e-4: the
            finest grid would learn noise.
        learning_rate: of Adam. Default 0.05.
        max_iterations: at most so many count. Default 300.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Four real FFTs a step.

    References:
        Müller, Evans, Schied & Keller 2022, ACM TOG 41:102, doi:10.1145/3528223.3530127 (grids of features);
        Zhang et al. 2024, Med Image Anal 95:103173, doi:10.1016/j.media.2024.103173 (INR-QSM).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = implicit_representation(jnp.zeros(mask.shape), mask, Geometry(), max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    found, _, scale = _fitted(
        local_field, mask, geometry, magnitude, weights, key, weight, learning_rate, max_iterations
    )
    return scale * referenced(found.chi, mask)


@partial(jax.jit, static_argnames="max_iterations")
def represent(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    key: PRNGKeyArray | None = None,
    weight: float = 5e-4,
    learning_rate: float = 0.05,
    max_iterations: int = 300,
) -> Representation:
    """Fit the function of position that :func:`implicit_representation` samples; same arguments.

    Example:
        >>> mask = jnp.ones((8, 8, 8), bool)
        >>> chi = represent(jnp.zeros(mask.shape), mask, Geometry(), max_iterations=2)
        >>> fine = jnp.linspace(0, 7, 29)
        >>> chi(fine, fine, fine).shape
        (29, 29, 29)
    """
    found, image, scale = _fitted(
        local_field, mask, geometry, magnitude, weights, key, weight, learning_rate, max_iterations
    )
    return image(found.parameters)._replace(scale=scale)


def _fitted(
    local_field: Array,
    mask: Array,
    geometry: Geometry,
    magnitude: Array | None,
    weights: Array | None,
    key: PRNGKeyArray | None,
    weight: float,
    learning_rate: float,
    max_iterations: int,
) -> tuple[Descent, Callable[[Sequence[Array]], Representation], Array]:
    of_weights, of_voxels = jax.random.split(jax.random.key(0) if key is None else key)
    data, scale = at_unit_size(local_field, mask, geometry, confidence(weights, magnitude))
    x, y, z = (jnp.arange(n) * size for n, size in zip(mask.shape, geometry.voxel_size, strict=True))

    def function(parameters: Sequence[Array]) -> Representation:
        *grids, first, bias, last = parameters
        return Representation(tuple(grids), first, bias, last, geometry.voxel_size, jnp.ones(()))

    found = descend(
        lambda parameters, _: function(parameters)(x, y, z) * mask,
        _first_parameters(of_weights, mask.shape),
        data,
        mask,
        geometry,
        of_voxels,
        weight=weight,
        learning_rate=learning_rate,
        max_iterations=max_iterations,
    )
    return found, function, scale


def _first_parameters(key: PRNGKeyArray, shape: tuple[int, ...]) -> list[Array]:
    keys = jax.random.split(key, len(LEVELS) + 2)
    grids = [
        1e-2 * jax.random.normal(one, (*(-(-n // level) + 1 for n in shape), FEATURES))
        for one, level in zip(keys, LEVELS, strict=False)
    ]
    inputs = FEATURES * len(LEVELS)
    first = jax.random.normal(keys[-2], (inputs, WIDTH)) / jnp.sqrt(inputs)
    last = jax.random.normal(keys[-1], (WIDTH,)) / jnp.sqrt(WIDTH)
    return [*grids, first, jnp.zeros(WIDTH), last]


def _interpolation(positions: Float[Array, " n"], points: int) -> Float[Array, "n g"]:
    """Linear interpolation between the points of a grid, as a matrix."""
    distance = jnp.abs(jnp.clip(positions, 0, points - 1)[:, None] - jnp.arange(points))
    return jnp.maximum(1 - distance, 0)
