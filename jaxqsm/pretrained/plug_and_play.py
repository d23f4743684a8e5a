"""Plug-and-play inversion with a denoiser of χ as its prior."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.pretrained.denoiser_prior import Denoiser, alternate, prior_of
from jaxqsm.variational.common import confidence


def plug_and_play(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    strongest: float = 0.2,
    weakest: float = 0.005,
    trust: float = 1.0,
    max_iterations: int = 12,
    checkpoint: str = "denoiser",
    denoiser: Denoiser | None = None,
) -> Float[Array, "x y z"]:
    """Minimise ½ |W (Dχ − field)|² / noise² + prior(χ), the prior being a denoiser (plug-and-play).

    Use it where a learned prior should not depend on resolution and orientation.

    In turn χ is denoised at a level, and drawn to the field by conjugate gradients with a pull of
    trust / level² towards what the denoiser found. The level falls from ``strongest`` to ``weakest``: at
    first the denoiser repairs streaks, at last it leaves detail alone (half-quadratic splitting). The
    denoiser knows no physics, so scans of any orientation, resolution and weights are alike to it.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        strongest, weakest: first and last level, ppm of χ where the field has a root mean square of 0.02 ppm.
            Defaults 0.2, several times χ, at which what varies slowly is found, and 0.005.
        trust: in the denoiser, against the noise that the field shows. Default 1.
        max_iterations: default 12.
        checkpoint: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote for the task ``denoising``. Default ``"denoiser"``.
        denoiser: of one's own in place of the checkpoint's: a JAX function of χ in ppm, mean zero in the
            mask, and the standard deviation of its noise in ppm, to χ; for a field whose root mean square is
            0.02 ppm, to which all fields are brought.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. A pass of the network and about 130 real FFTs an
        iteration.

    Raises:
        ValueError: there are no such weights, or they are of another task.

    References:
        Venkatakrishnan, Bouman & Wohlberg 2013, GlobalSIP, doi:10.1109/GlobalSIP.2013.6737048; Zhang et al.
        2022, IEEE TPAMI 44:6360, doi:10.1109/TPAMI.2021.3088914 (falling levels).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = plug_and_play(jnp.zeros(mask.shape), mask, Geometry(), max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    denoise = prior_of(checkpoint, denoiser, mask, geometry)
    levels = jnp.geomspace(strongest, weakest, max_iterations)
    scan = jnp.asarray(local_field), jnp.asarray(mask), geometry, confidence(weights, magnitude)
    return alternate(denoise, scan, levels, trust / levels**2)
