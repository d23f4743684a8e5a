"""Smooth invertible deformations of anatomy, on a coarse grid of control points."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.phantoms.random_shapes import random_field
from jaxqsm.phantoms.template import CENTRE

CONTROL_SPACING = 8.0
"""mm between control points."""

CONTROL_SHAPE = (32, 32, 32)
"""Control points an axis: 256 mm about the head's centre."""

SQUARINGS = 5
"""The velocity is integrated in 2⁵ steps."""


def random_deformation(
    *, key: PRNGKeyArray, displacement: ArrayLike = 3.0, smoothness: float = 20.0
) -> Float[Array, "3 x y z"]:
    """Draw displacements in mm at the control points, of a flow along a smooth velocity field.

    A flow for unit time is a diffeomorphism: no tissue folds over another. It is integrated by scaling
    and squaring.

    Args:
        key: random key.
        displacement: standard deviation of the velocity in mm per unit time, an axis; about that of the
            displacement. Default 3.
        smoothness: standard deviation in mm of the Gaussian that shapes the velocity; default 20, about
            a lobe's size.

    References:
        Arsigny et al. 2006, MICCAI, LNCS 4190:924, doi:10.1007/11866565_113.
    """
    spacing = Geometry((CONTROL_SPACING,) * 3)
    velocity = jnp.stack(
        [
            random_field(
                CONTROL_SHAPE, spacing, standard_deviation=displacement, smoothness=smoothness, key=k
            )
            for k in jax.random.split(key, 3)
        ]
    )
    places = jnp.stack(jnp.meshgrid(*[jnp.arange(float(n)) for n in CONTROL_SHAPE], indexing="ij"))

    def double(flow: Array, _: None) -> tuple[Array, None]:
        there = places + flow / CONTROL_SPACING
        onwards = [map_coordinates(f, list(there), order=1, mode="nearest") for f in flow]
        return flow + jnp.stack(onwards), None

    return jax.lax.scan(double, velocity / 2**SQUARINGS, length=SQUARINGS)[0]


def displacement_at(
    control: Float[Array, "3 X Y Z"], axes: tuple[Float[Array, x], Float[Array, y], Float[Array, z]]
) -> Float[Array, "3 x y z"]:
    """Interpolate the displacement in mm on a grid with coordinates in mm.

    The uniform cubic B-spline with the control points as coefficients: smooth to the second derivative,
    and three small matrix products, as grid and control points share their axes.
    """
    for axis, coordinates in enumerate(axes):
        first = CENTRE[axis] - CONTROL_SPACING * (CONTROL_SHAPE[axis] - 1) / 2
        place = (coordinates - first) / CONTROL_SPACING
        distance = jnp.abs(place[:, None] - jnp.arange(CONTROL_SHAPE[axis]))
        inner = 2 / 3 - distance**2 + distance**3 / 2
        outer = jnp.maximum(2 - distance, 0) ** 3 / 6
        weights = jnp.where(distance < 1, inner, outer)
        control = jnp.moveaxis(
            jnp.tensordot(weights, control, axes=(1, axis + 1), precision="highest"), 0, axis + 1
        )
    return control
