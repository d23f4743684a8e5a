"""Polynomial background: what is smooth goes."""

from __future__ import annotations

import itertools
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import MaskedVolume
from jaxqsm.variational.common import confidence


@partial(jax.jit, static_argnames="order")
def polynomial(
    total_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    order: int = 4,
) -> MaskedVolume:
    """Subtract the polynomial of ``order`` that fits the total field best.

    Use it for small objects and crops whose background varies slowly.

    For shims and what other methods leave; air-tissue borders need one of those first.

    Args:
        total_field: ppm, shape ``(x, y, z)``.
        mask: where the total field is valid.
        geometry: not used: polynomials are the same in any unit of length.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        order: highest sum of powers. Default 4, with 35 terms.

    Returns:
        Local field in ppm, zero outside, and the mask, unchanged. Closed form, differentiable.

    References:
        Duyn et al. 2007, PNAS 104:11796, doi:10.1073/pnas.0610821104 (removal of smooth phase).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> local, valid = polynomial(jnp.zeros(mask.shape), mask, Geometry())
        >>> local.shape, valid.shape
        ((16, 16, 16), (16, 16, 16))
    """
    del geometry
    axes = [jnp.linspace(-1, 1, n) for n in mask.shape]
    # Chebyshev's polynomials, as powers are nearly alike and float32 is short.
    along = [[jnp.cos(degree * jnp.arccos(axis)) for degree in range(order + 1)] for axis in axes]
    degrees = [d for d in itertools.product(range(order + 1), repeat=3) if sum(d) <= order]
    chosen = confidence(weights, magnitude)
    weights = mask.astype(total_field.dtype)
    if chosen is not None:
        weights = weights * chosen**2 / jnp.maximum(jnp.max(chosen**2 * mask), 1e-30)

    def term(degree: tuple[int, ...]) -> Array:
        x, y, z = (a[d] for a, d in zip(along, degree, strict=True))
        return x[:, None, None] * y[:, None] * z

    # Sums over products of one axis at a time: the terms are never all in memory.
    right = jnp.stack([jnp.sum(weights * term(d) * total_field) for d in degrees])
    x, y, z = (jnp.stack(a) for a in along)
    moments = jnp.einsum("xyz,ax,bx->yzab", weights, x, x)
    moments = jnp.einsum("yzab,cy,dy->zabcd", moments, y, y)
    moments = jnp.einsum("zabcd,ez,fz->abcdef", moments, z, z)
    chosen = jnp.asarray(degrees)
    rows, columns = chosen[:, None, :], chosen[None, :, :]
    normal = moments[
        rows[..., 0], columns[..., 0], rows[..., 1], columns[..., 1], rows[..., 2], columns[..., 2]
    ]
    scale = jnp.trace(normal) / len(degrees)
    ridge = 1e-7 * jnp.where(scale > 0, scale, 1) * jnp.eye(len(degrees))
    coefficients = jnp.linalg.solve(normal + ridge, right)
    fitted = sum(c * term(d) for c, d in zip(coefficients, degrees, strict=True))
    return MaskedVolume((total_field - fitted) * mask, mask)
