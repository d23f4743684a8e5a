"""Noise of χ by repeated inversion with fresh noise."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.uncertainty.ensemble import Ensemble, ensemble


def bootstrap(
    method: Callable[..., Float[Array, "x y z"]],
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    noise: Float[Array, "x y z"],
    *,
    key: PRNGKeyArray,
    repeats: int = 8,
    **options: Any,
) -> Ensemble:
    """Repeat an inversion with fresh noise on the field, and measure the spread of χ.

    Use it for test-retest scatter of any inversion, differentiable or not.

    Unlike :func:`~jaxqsm.uncertainty.noise_propagation`, which follows noise to first order, it asks nothing
    of the method: not a derivative, and not that small noise shows what noise does. A method that draws, such
    as :func:`jaxqsm.fitting.implicit_representation`, has a key of its own each time, so that this is an
    ensemble. What a method gets wrong every time is not in it.

    Args:
        method: an inversion, called with field, mask, geometry and ``options``, and a key if it takes one.
        local_field: ppm, shape ``(x, y, z)``. Its own noise stays in it, so members have twice the variance.
        mask: where it is valid.
        geometry: voxel size and field direction.
        noise: standard deviation of the field in each voxel, ppm.
        key: random key.
        repeats: inversions, at least two. Default 8; the standard deviation of a voxel has a relative error
            of 1 / √(2 · (repeats − 1)).
        options: further keyword arguments of the method.

    Returns:
        Mean, standard deviation and members, as :func:`ensemble`.

    Raises:
        ValueError: fewer than two repeats.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxqsm.inversion import tkd
        >>> mask = jnp.ones((8, 8, 8), bool)
        >>> noise = jnp.full(mask.shape, 1e-3)
        >>> bootstrap(tkd, 0 * noise, mask, Geometry(), noise, key=jax.random.key(0)).mean.shape
        (8, 8, 8)

    References:
        Efron & Tibshirani 1993, An Introduction to the Bootstrap, doi:10.1201/9780429246593.
    """
    of_noise, of_method = jax.random.split(key)
    draws = "key" in inspect.signature(method).parameters

    def repetition(own: PRNGKeyArray) -> Callable[..., Float[Array, "x y z"]]:
        keywords = options | ({"key": own} if draws else {})
        return lambda field, mask, geometry, **_: method(field, mask, geometry, **keywords)

    members = [repetition(own) for own in jax.random.split(of_method, repeats)]
    return ensemble(members, local_field, mask, geometry, noise=noise, key=of_noise)
