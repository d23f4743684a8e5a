"""Phase offset of a multi-echo scan from its first two echoes."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.operators import gaussian_mean
from jaxqsm.physics import wrap_phase


@partial(jax.jit, static_argnames="passes")
def mcpc_3d_s(
    phase: Float[Array, "x y z echo"],
    unwrapped_difference: Float[Array, "x y z"],
    magnitude: Float[Array, "x y z echo"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    acquisition: Acquisition,
    *,
    smoothing: float = 3.0,
    passes: int = 4,
) -> Float[Array, "x y z"]:
    """Phase at TE = 0: extrapolate the first two echoes back, then smooth in the complex plane.

    Args:
        phase: wrapped phase in rad; only the first two echoes are used.
        unwrapped_difference: unwrapped phase of echo 2 minus echo 1, rad.
        magnitude: any unit; weights the smoothing.
        mask: where phase is meaningful.
        geometry: voxel size (mm).
        acquisition: echo times.
        smoothing: standard deviation of the Gaussian in mm; default 3, which still averages over
            hundreds of voxels.
        passes: how often the smoothed remainder is added. Default 4: one pass of 8 mm errs by 0.4 rad
            where the offset bends by π across 2.4 cm, four of 3 mm by 0.03 rad.

    Returns:
        Offset in rad, wrapped; subtract it from every echo. Differentiable, four real
        FFTs a pass.

    References:
        Eckstein et al. 2018, MRM 79:2996, doi:10.1002/mrm.26963.
    """
    first, second = acquisition.echo_times[0], acquisition.echo_times[1]
    offset = phase[..., 0] - unwrapped_difference * first / (second - first)
    weight = mask * magnitude[..., 0] * magnitude[..., 1]
    weight = weight / jnp.maximum(weight.max(), 1e-30)

    def smooth(image: Array) -> Array:
        return gaussian_mean(image, smoothing, geometry)

    def smooth_angle(angle: Array) -> Array:
        real, imaginary = smooth(weight * jnp.cos(angle)), smooth(weight * jnp.sin(angle))
        defined = real**2 + imaginary**2 > 0
        return jnp.arctan2(jnp.where(defined, imaginary, 0), jnp.where(defined, real, 1))

    # What a pass leaves is smoothed and added: bent phase, and phase at the border of the mask,
    # would be flattened by a single one.
    smoothed = smooth_angle(offset)
    for _ in range(passes - 1):
        smoothed = smoothed + smooth_angle(offset - smoothed)
    return wrap_phase(smoothed)
