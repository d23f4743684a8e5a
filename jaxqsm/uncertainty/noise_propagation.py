"""Propagation of the noise of the field through any inversion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry


def noise_propagation(
    method: Callable[..., Float[Array, "x y z"]],
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    noise: Float[Array, "x y z"],
    *,
    key: PRNGKeyArray,
    probes: int = 16,
    **options: Any,
) -> Float[Array, "x y z"]:
    """Propagate the field's noise: √ diag(J Σ Jᵀ), J the Jacobian of the method.

    Use it for test-retest scatter of any differentiable inversion.

    J is exact, of solvers and of networks. It is applied to random
    fields of the noise's size, and the mean square of the answers is the diagonal (Hutchinson). This is how
    far χ would scatter if the scan were repeated, and says nothing of what the method gets wrong every time.

    Args:
        method: an inversion, such as :func:`jaxqsm.inversion.tv` or :func:`jaxqsm.pretrained.learned`.
        local_field: ppm, shape ``(x, y, z)``.
        mask: where it is valid.
        geometry: voxel size and field direction.
        noise: standard deviation of the field in each voxel, ppm: that of the signal over
            :func:`jaxqsm.field_mapping.precision`.
        key: random key.
        probes: random fields. Default 16; the standard deviation of a voxel has a relative error of 1 / √(2 ·
            probes).
        options: further keyword arguments of the method.

    Returns:
        Standard deviation in ppm, zero outside the mask. A solve and ``probes`` linear ones, in turn.

    References:
        Hutchinson 1989, Commun Stat Simul 18:1059, doi:10.1080/03610918908812806.

    Example:
        >>> from jaxqsm.inversion import tkd
        >>> mask = jnp.ones((8, 8, 8), bool)
        >>> noise = jnp.full(mask.shape, 1e-3)
        >>> deviation = noise_propagation(tkd, 0 * noise, mask, Geometry(), noise, key=jax.random.key(0))
        >>> bool((deviation > 1e-3).all())  # the dipole's inverse magnifies noise
        True
    """
    # What is an array is an argument, as XLA would compute with constants while it compiles.
    arrays = {name: value for name, value in options.items() if isinstance(value, jax.Array)}
    others = {name: value for name, value in options.items() if name not in arrays}

    @jax.jit
    def squares(
        field: Array, mask: Array, geometry: Geometry, noise: Array, keys: Array, arrays: dict
    ) -> Array:
        solve = partial(method, mask=mask, geometry=geometry, **arrays, **others)

        def answer(key: PRNGKeyArray) -> Array:
            direction = noise * mask * jax.random.normal(key, field.shape, field.dtype)
            return jax.jvp(solve, (field,), (direction,))[1] ** 2

        return jnp.mean(jax.lax.map(answer, keys), axis=0)

    keys = jax.random.split(key, probes)
    return jnp.sqrt(squares(local_field, mask, geometry, noise, keys, arrays)) * mask
