"""Mean under a Gaussian, in k-space."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators.fourier import irfftn, rfftn
from jaxqsm.operators.frequencies import frequencies
from jaxqsm.operators.padding import fast_shape


def gaussian_response(
    shape: Sequence[int], standard_deviation: ArrayLike, geometry: Geometry
) -> Float[Array, "x y h"]:
    """Compute the Fourier transform of a Gaussian of unit sum, on the half spectrum.

    Args:
        shape: shape ``(x, y, z)`` of the periodic grid.
        standard_deviation: standard deviation in mm; differentiable.
        geometry: voxel size in mm.
    """
    kx, ky, kz = frequencies(shape, geometry)
    return jnp.exp(-2 * (jnp.pi * standard_deviation) ** 2 * (kx**2 + ky**2 + kz**2))


def gaussian_mean(
    image: Float[Array, "x y z"],
    standard_deviation: ArrayLike,
    geometry: Geometry,
    *,
    margin: int | Sequence[int] | None = None,
) -> Float[Array, "x y z"]:
    """Smooth ``image`` with a Gaussian, zeros beyond the array.

    Args:
        image: any unit.
        standard_deviation: standard deviation in mm.
        geometry: voxel size in mm.
        margin: zeros added per axis: with three standard deviations in voxels the ends of the array do not
            meet. Default: a quarter of each length.

    Returns:
        Shape and unit of ``image``. Self-adjoint, two real FFTs.
    """
    shape = fast_shape(image.shape, [n // 4 for n in image.shape] if margin is None else margin)
    response = gaussian_response(shape, standard_deviation, geometry)
    return irfftn(rfftn(image, shape) * response, shape, image.shape)
