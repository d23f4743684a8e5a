"""Harmonic phase removal with the Laplacian: HARPERELLA."""

from __future__ import annotations

from functools import partial

import jax
from jaxtyping import Array, Bool, Float

from jaxqsm.background.laplacian_problem import laplacian_problem
from jaxqsm.geometry import Geometry
from jaxqsm.operators import MaskedVolume, irfftn, rfftn, spherical_kernel
from jaxqsm.solvers import conjugate_gradient


@partial(jax.jit, static_argnames="max_iterations")
def harperella(
    total_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    radius: float = 10.0,
    max_iterations: int = 40,
) -> MaskedVolume:
    """Find the local field from its Laplacian inside, with least spherical mean (HARPERELLA).

    Use it to compare with STI Suite.

    Inside the mask a background has no Laplacian. Outside it the Laplacian of the local field is chosen so
    that its spherical mean is least, by conjugate gradients stopped early; Poisson's equation then gives the
    field. As only the Laplacian is used, the published method takes wrapped phase; this takes the total
    field, which :func:`jaxqsm.unwrapping.laplacian` makes of it.

    Args:
        total_field: ppm, shape ``(x, y, z)``.
        mask: where the total field is valid.
        geometry: voxel size (mm); the field direction is not used.
        radius: of the SMV kernel in mm; default 10; smaller ones leave more background.
        max_iterations: conjugate-gradient steps; default 40, as published.

    Returns:
        Local field in ppm, zero outside, and the mask without its outermost layer. Two real FFTs an
        iteration; gradients unroll the iterations.

    References:
        Li, Avram, Wu, Xiao & Liu 2014, NMR Biomed 27:219, doi:10.1002/nbm.3056.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> local, valid = harperella(jnp.zeros(mask.shape), mask, Geometry(), max_iterations=2)
        >>> local.shape, valid.shape
        ((16, 16, 16), (16, 16, 16))
    """
    given = laplacian_problem(total_field, mask, geometry)
    response = rfftn(spherical_kernel(given.shape, radius, geometry)).real

    def twice_averaged(sources: Array) -> Array:
        return irfftn(rfftn(sources) * response**2, given.shape)

    def normal(sources: Array) -> Array:
        return given.outside * twice_averaged(given.outside * sources)

    right = -twice_averaged(given.inner) * given.outside
    sources = conjugate_gradient(normal, right, max_iterations=max_iterations)
    return given.to_scan_grid(sources)
