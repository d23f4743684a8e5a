"""Variable-kernel sophisticated harmonic artefact reduction for phase."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import crop, fast_shape, pad, spherical_kernel
from jaxqsm.operators.erosion import FULL

RADII = (12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0)


@partial(jax.jit, static_argnames="radii")
def v_sharp(
    total_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    radii: tuple[float, ...] = RADII,
    threshold: float = 0.05,
) -> tuple[Float[Array, "x y z"], Bool[Array, "x y z"]]:
    """Subtract spherical means, which background fields equal, then undo what that did to χ's field.

    Every voxel uses the largest ball that fits into the mask around it. The convolution δ − ball of
    the largest radius is then divided out in k-space, truncated below ``threshold``.

    Args:
        total_field: ppm, shape ``(x, y, z)``.
        mask: where the total field is valid.
        geometry: voxel size (mm); the field direction is not used.
        radii: ball radii in mm, falling. Default 12 to 2 mm. A ball of less than about one voxel is
            passed over, so the default serves any voxel size.
        threshold: smallest divisor in k-space; default 0.05, as published.

    Returns:
        Local field in ppm (zero outside) and the mask eroded by the smallest ball used.
        Two real FFTs and three more a radius. Differentiable in field and voxel size.

    References:
        Schweser et al. 2011, NeuroImage 54:2789, doi:10.1016/j.neuroimage.2010.10.070 (SHARP);
        Li, Wu & Liu 2011, NeuroImage 55:1645, doi:10.1016/j.neuroimage.2010.11.088 (variable radii).
    """
    shape = fast_shape(mask.shape, 1)  # one empty layer: no ball can wrap around unseen
    inside = pad(mask, shape)
    field = pad(total_field * mask, shape)
    field_spectrum = jnp.fft.rfftn(field)
    mask_spectrum = jnp.fft.rfftn(inside.astype(field.dtype))

    def high_pass(radius: float) -> tuple[Array, Array, Array]:
        ball = spherical_kernel(shape, radius, geometry)
        response = jnp.fft.rfftn(ball).real
        covered = jnp.fft.irfftn(mask_spectrum * response, s=shape)
        large_enough = ball[0, 0, 0] < 0.5
        fits = inside & (covered > FULL) & large_enough
        mean = jnp.fft.irfftn(field_spectrum * response, s=shape)
        return field - mean, fits, response

    filtered, valid, widest = high_pass(radii[0])
    filtered = jnp.where(valid, filtered, 0)
    for radius in radii[1:]:
        candidate, fits, _ = high_pass(radius)
        filtered = jnp.where(fits & ~valid, candidate, filtered)
        valid = valid | fits

    divisor = 1 - widest
    kept = jnp.abs(divisor) > threshold
    inverse = jnp.where(kept, 1 / jnp.where(kept, divisor, 1), 0)
    local = jnp.fft.irfftn(jnp.fft.rfftn(filtered) * inverse, s=shape)
    valid = crop(valid, mask.shape)
    return crop(local, mask.shape) * valid, valid
