"""Calculation of susceptibility through multiple orientation sampling."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import crop, pad
from jaxqsm.physics import dipole_convolve, dipole_kernel
from jaxqsm.solvers import solve_symmetric
from jaxqsm.variational.common import data_weights, padded_shape, referenced


@partial(jax.jit, static_argnames="max_iterations")
def cosmos(
    local_fields: Float[Array, "orientation x y z"],
    mask: Bool[Array, "x y z"],
    geometries: Geometry,
    *,
    magnitudes: Float[Array, "orientation x y z"] | None = None,
    max_iterations: int = 30,
) -> Float[Array, "x y z"]:
    """Minimise Σ |Wᵢ (Dᵢχ − fieldᵢ)|² over orientations by conjugate gradients (COSMOS).

    Use it as a reference where three or more orientations were scanned.

    Three orientations that differ by 60° are best; two leave a line of k-space ill-conditioned.

    Args:
        local_fields: ppm, registered to one grid, shape ``(orientation, x, y, z)``.
        mask: where all fields are valid.
        geometries: voxel size and field direction of each, with a leading orientation axis on both leaves:
            ``jax.tree.map(lambda *leaves: jnp.stack(leaves), *geometries)``.
        magnitudes: optional, any unit; Wᵢ is then the magnitude over its root mean square.
        max_iterations: conjugate-gradient steps. Default 30.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Two real FFTs an orientation and iteration;
        the derivative is one more solve.

    References:
        Liu et al. 2009, MRM 61:196, doi:10.1002/mrm.21828.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> directions = ((0, 0, 1), (0.7, 0, 0.7), (0, 0.7, 0.7))
        >>> geometries = [Geometry(b0_dir=direction) for direction in directions]
        >>> stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *geometries)
        >>> cosmos(jnp.zeros((3, 16, 16, 16)), mask, stacked).shape
        (16, 16, 16)
    """
    shape = padded_shape(mask.shape)
    kernels = jax.vmap(lambda geometry: dipole_kernel(shape, geometry))(geometries)
    images = jnp.ones_like(local_fields) if magnitudes is None else magnitudes
    weights = jax.vmap(lambda image: pad(data_weights(mask, image) ** 2, shape))(images)

    def back(fields: Float[Array, "orientation X Y Z"]) -> Array:
        return sum(  # type: ignore[return-value]
            dipole_convolve(w * f, k, shape) for w, f, k in zip(weights, fields, kernels, strict=True)
        )

    def normal(chi: Array) -> Array:
        return back(jnp.stack([dipole_convolve(chi, k, shape) for k in kernels]))

    # Without weights the normal equations are diagonal in k-space.
    typical = jnp.sum(kernels**2, axis=0)
    inverse = jnp.where(typical > 1e-3, 1 / jnp.maximum(typical, 1e-3), 0)
    fields = jax.vmap(lambda field: pad(field * mask, shape))(local_fields)
    chi = solve_symmetric(
        normal,
        back(fields),
        max_iterations=max_iterations,
        preconditioner=lambda residual: dipole_convolve(residual, inverse, shape),
    )
    return referenced(crop(chi, mask.shape), mask)
