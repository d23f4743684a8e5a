"""Least squares, and the estimation of its streaks."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import (
    all_frequencies,
    divergence,
    gradient,
    laplacian,
    pad,
    quantile,
    rfftn,
    spherical_kernel,
)
from jaxqsm.physics import dipole_convolve
from jaxqsm.solvers import conjugate_gradient
from jaxqsm.variational.least_squares import least_squares
from jaxqsm.variational.problem import InversionProblem, inversion_problem

FAST_RADIUS = 3.0
"""mm, radius of the ball over which the fast estimate is smoothed near the cone."""


@partial(jax.jit, static_argnames=("start_iterations", "max_iterations"))
def ilsqr(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    threshold: float = 0.1,
    outliers: float = 0.999,
    start: Float[Array, "x y z"] | None = None,
    start_iterations: int = 15,
    max_iterations: int = 50,
) -> Float[Array, "x y z"]:
    """Invert by LSQR, then estimate and subtract the streaks of the magic-angle cone (iLSQR).

    Use it to compare with STI Suite.

    Edges are those of a fast estimate that divides by the kernel's sign only.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        threshold: of the kernel's magnitude below which streaks lie. Default 0.1, as published.
        outliers: quantile of the size of the field's Laplacian above which a voxel begins to lose weight.
            Default 0.999. The published 0.6 takes weight off vessels and borders of nuclei, too: the least
            squares then miss what varies slowly.
        start: χ in ppm where the least squares begin; streaks are taken off it as well. Default: none.
        start_iterations: of the first least squares. Default 15.
        max_iterations: of the estimation of streaks. Default 50, as published.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Four real FFTs an iteration of least squares, two of
        the streaks; gradients unroll.

    References:
        Li et al. 2015, NeuroImage 108:111, doi:10.1016/j.neuroimage.2014.12.043.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = ilsqr(jnp.zeros(mask.shape), mask, Geometry(), start_iterations=2, max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    given = inversion_problem(local_field, mask, geometry, weights, magnitude)
    shape, kernel = given.shape, given.kernel
    inside = pad(mask, shape)
    rough = jnp.abs(pad(laplacian(local_field * mask, geometry), shape))
    believed = _falling(rough, inside, outliers, 0.99999)
    begin = None if start is None else pad(start, shape)
    first = least_squares(given, believed**2 * given.weights, max_iterations=start_iterations, start=begin)

    estimate = _fast(given, inside, first)
    smooth = [
        _falling(jnp.abs(g), inside & jnp.roll(inside, -1, axis), 0.5, 0.7) ** 2
        for axis, g in enumerate(gradient(estimate, geometry))
    ]
    cone = jnp.where(jnp.abs(kernel) < threshold, 1.0, 0.0)

    def roughness(image: Array) -> Array:
        """Half the derivative of Σ smooth |∇image|²."""
        x, y, z = (s * g for s, g in zip(smooth, gradient(image, geometry), strict=True))
        return -divergence((x, y, z), geometry)

    def within_cone(image: Array) -> Array:
        return dipole_convolve(image, cone, shape)

    # All iterates lie within the cone, as the right-hand side does.
    streaks = conjugate_gradient(
        lambda image: within_cone(roughness(image)),
        within_cone(roughness(first)),
        max_iterations=max_iterations,
    )
    return given.to_scan_grid(first - streaks)


def _fast(given: InversionProblem, inside: Array, like: Array) -> Array:
    """χ by the sign of the kernel, smoothed near the cone, scaled to fit ``like``."""
    size = jnp.abs(given.kernel) ** 0.001
    everywhere = all_frequencies(size, given.shape[-1])
    low, high = (quantile(everywhere, jnp.ones(everywhere.shape, bool), level) for level in (0.01, 0.3))
    trust = jnp.clip((size - low) / jnp.maximum(high - low, 1e-12), 0, 1)
    ball = rfftn(spherical_kernel(given.shape, FAST_RADIUS, given.geometry)).real
    smoothed = trust + (1 - trust) * ball
    # Smoothed twice, as published: the mask spreads what the first time took out.
    estimate = inside * dipole_convolve(given.field, jnp.sign(given.kernel) * smoothed, given.shape)
    estimate = inside * dipole_convolve(estimate, smoothed, given.shape)
    return estimate * jnp.sum(estimate * like) / jnp.maximum(jnp.sum(estimate**2), 1e-30)


def _falling(values: Array, inside: Array, low: float, high: float) -> Array:
    """1 below one quantile of the values inside, 0 above another, linear between."""
    bottom, top = (quantile(values, inside, level) for level in (low, high))
    return jnp.clip((top - values) / jnp.maximum(top - bottom, 1e-12), 0, 1)
