"""Regularisation by denoising, with a denoiser of χ."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.pretrained.denoiser_prior import Denoiser, alternate, prior_of
from jaxqsm.variational.common import confidence


def red(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    level: float = 0.03,
    trust: float = 1.0,
    max_iterations: int = 15,
    checkpoint: str = "denoiser",
    denoiser: Denoiser | None = None,
) -> Float[Array, "x y z"]:
    """Invert by regularisation by denoising (RED), with a fixed-point iteration.

    Use it where a fixed point, which does not depend on the number of iterations, is wanted.

    Solves DW² (Dχ − field) / noise² + trust / level² (χ − denoised χ) = 0 by fixed-point iteration: the
    denoised χ is held, and the linear equation solved by conjugate gradients. Unlike
    :func:`~jaxqsm.pretrained.plug_and_play` its level stays, so that what it converges to does not depend on
    how long it runs.

    Args:
        local_field, mask, geometry, magnitude, weights: as for :func:`~jaxqsm.pretrained.plug_and_play`.
        level: noise that the denoiser is conditioned on, ppm of χ where the field has a root mean square of
            0.02 ppm. Default 0.03.
        trust: as for :func:`~jaxqsm.pretrained.plug_and_play`.
        max_iterations: default 15.
        checkpoint, denoiser: as for :func:`~jaxqsm.pretrained.plug_and_play`.

    Returns:
        χ in ppm, zero mean in the mask, zero outside.

    Raises:
        ValueError: there are no such weights, or they are of another task.

    References:
        Romano, Elad & Milanfar 2017, SIAM J Imaging Sci 10:1804, doi:10.1137/16M1102884.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = red(jnp.zeros(mask.shape), mask, Geometry(), max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    denoise = prior_of(checkpoint, denoiser, mask, geometry)
    levels = jnp.full(max_iterations, level)
    scan = jnp.asarray(local_field), jnp.asarray(mask), geometry, confidence(weights, magnitude)
    return alternate(denoise, scan, levels, trust / levels**2)
