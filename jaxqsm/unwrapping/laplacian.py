"""Laplacian unwrapping: a Poisson equation, on the mask, for the wrapped phase differences."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import divergence, gradient, poisson_solver
from jaxqsm.operators.differences import Vectors
from jaxqsm.physics import wrap_phase
from jaxqsm.solvers import solve_symmetric


@partial(jax.jit, static_argnames=("max_iterations", "congruent"))
def laplacian(
    wrapped: Float[Array, "x y z *echo"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    max_iterations: int = 10,
    congruent: bool = False,
) -> Float[Array, "x y z *echo"]:
    """Unwrap by weighted least squares on the phase differences between neighbours.

    Use it within ``jit`` on GPU and TPU, and where a smooth differentiable phase matters more than exactness.

    The normal equation of that least-squares fit is Poisson's with no flux across the border of the
    mask. It is solved by conjugate gradients, preconditioned by the same equation on the whole
    array, which cosine transforms solve. Where every true difference is below π the result is the
    true phase; elsewhere the error is spread smoothly. It is therefore *not* the input plus
    multiples of 2π, unless ``congruent``.

    Args:
        wrapped: phase in rad.
        mask: where phase is meaningful; its parts should touch, as the constant is one for all.
        geometry: voxel size (mm).
        max_iterations: default 10, which leaves 1e-4 of the residual in a head; 1 would be the plain
            Laplacian method with the mask as its only data, wrong by radians near the border.
        congruent: give the nearest phase that is the input plus multiples of 2π. These are right where the
            smooth error is below π. Default false, as the smooth phase has a derivative.

    Returns:
        Unwrapped phase in rad, zero outside the mask. Its constant makes it agree with ``wrapped``
        modulo 2π on average. Works on any device; linear in the differences; its derivative is one
        more solve. Two cosine transforms an iteration.

    References:
        Schofield & Zhu 2003, Opt Lett 28:1194, doi:10.1364/OL.28.001194;
        Ghiglia & Romero 1994, JOSA A 11:107, doi:10.1364/JOSAA.11.000107 (weights, cosine transform).

    Example:
        >>> phase = jnp.broadcast_to(jnp.linspace(0, 20, 16), (16, 16, 16))
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> unwrapped = laplacian(jnp.angle(jnp.exp(1j * phase)), mask, Geometry())
        >>> bool(jnp.ptp(unwrapped) > 19)
        True
    """
    if wrapped.ndim == 4:
        unwrap = partial(laplacian, max_iterations=max_iterations, congruent=congruent)
        return jax.vmap(unwrap, (-1, None, None), -1)(wrapped, mask, geometry)
    joined = [mask & jnp.roll(mask, -1, axis) for axis in range(3)]

    def minus_divergence(vectors: Vectors) -> Array:
        x, y, z = (v * j for v, j in zip(vectors, joined, strict=True))
        return -divergence((x, y, z), geometry, boundary="neumann")

    x, y, z = (
        wrap_phase(jnp.roll(wrapped, -1, axis) - wrapped) / geometry.voxel_size[axis] for axis in range(3)
    )

    # The derivative is that of the solution, by one more solve, as the iteration has converged.
    phase = solve_symmetric(
        lambda image: minus_divergence(gradient(image, geometry, boundary="neumann")),
        minus_divergence((x, y, z)),
        max_iterations=max_iterations,
        preconditioner=poisson_solver(wrapped.shape, geometry, boundary="neumann"),
    )
    rest = (wrapped - phase) * mask
    constant = jnp.angle(jnp.sum(mask * jnp.exp(1j * rest)))
    phase = phase + constant
    if congruent:
        phase = phase - wrap_phase(phase - wrapped)
    return phase * mask
