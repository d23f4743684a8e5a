"""Laplacian boundary value method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import crop, fast_shape, laplacian, pad, poisson_solver, without_border
from jaxqsm.solvers import conjugate_gradient


@partial(jax.jit, static_argnames=("layers", "iterations"))
def lbv(
    total_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    layers: int = 4,
    iterations: int = 20,
) -> tuple[Float[Array, "x y z"], Bool[Array, "x y z"]]:
    """Subtract the harmonic field that equals the total field on the border of the mask.

    Local fields are small on the border; background fields are harmonic inside it. So the background is
    the solution of Laplace's equation with the total field as its boundary value.

    Args:
        total_field: ppm, shape ``(x, y, z)``.
        mask: where the total field is valid.
        geometry: voxel size (mm); the field direction is not used.
        layers: outermost layers of voxels that are taken off first, as their field is least certain.
            Default 4: on the head phantom at 1 mm the error in what is left is 25 %, with 3 it is 32 %, with
            5 23 %: veins of the dura lie on the border, whose field is taken for background.
        iterations: conjugate-gradient steps, preconditioned by Poisson's equation on the whole array.
            Default 20; on the head phantom 10 are as good.

    Returns:
        Local field in ppm, zero outside, and the mask without its outermost ``layers`` and the layer
        that holds the boundary values. Two real FFTs an iteration. The derivative is one more solve.

    References:
        Zhou, Liu, Spincemaille & Wang 2014, NMR Biomed 27:312, doi:10.1002/nbm.3064.
    """
    shape = fast_shape(mask.shape, 1)  # so that differences do not wrap around
    inside, field = (pad(v, shape) for v in (mask, total_field * mask))
    for _ in range(layers):
        inside = without_border(inside)
    interior = without_border(inside)
    box = poisson_solver(shape, geometry)

    def minus_laplacian(image: Array) -> Array:
        return -jnp.where(interior, laplacian(image, geometry), 0)

    def solve(operator: Callable[[Array], Array], right: Array) -> Array:
        def near_inverse(residual: Array) -> Array:
            return jnp.where(interior, box(residual), 0)

        return conjugate_gradient(operator, right, iterations=iterations, preconditioner=near_inverse)

    # What the harmonic background leaves has the total field's Laplacian, and is zero on the border.
    right = minus_laplacian(jnp.where(inside, field, 0))
    local = jax.lax.custom_linear_solve(minus_laplacian, right, solve, symmetric=True)
    return crop(local, mask.shape), crop(interior, mask.shape)
