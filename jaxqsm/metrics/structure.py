"""Agreement of structure: local statistics and fine detail."""

from __future__ import annotations

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


@jax.jit
def xsim(
    image: Float[Array, "x y z"], truth: Float[Array, "x y z"], mask: Bool[Array, "x y z"]
) -> Float[Array, ""]:
    """Compute the structural similarity with constants for χ in ppm (XSIM); 1 is identity.

    Windows of 5³ voxels, truncated at the array border; L = 1, K1 = 0.01, K2 = 0.001.

    References:
        Milovic et al. 2025, MRM 93:411, doi:10.1002/mrm.30271.
    """
    return _similarity(image, truth, mask, window=5, c1=0.01**2, c2=0.001**2, unbiased=False)


@jax.jit
def ssim(
    image: Float[Array, "x y z"],
    truth: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    *,
    data_range: float = 0.2,
) -> Float[Array, ""]:
    """Compute the structural similarity index, mean over the mask; 1 is identity.

    Windows of 7³ voxels, K1 = 0.01, K2 = 0.03, sample covariance (as scikit-image defines it).

    Args:
        image: ppm.
        truth: ppm.
        mask: where to average.
        data_range: the span of values that matters; default 0.2 ppm, the usual display window.

    References:
        Wang et al. 2004, IEEE TIP 13:600, doi:10.1109/TIP.2003.819861.
    """
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    return _similarity(image, truth, mask, window=7, c1=c1, c2=c2, unbiased=True)


@partial(jax.jit, static_argnames="sigma")
def hfen(
    image: Float[Array, "x y z"],
    truth: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    *,
    sigma: float = 1.5,
) -> Float[Array, ""]:
    """Compute the high-frequency error norm in percent: the error of the Laplacian of Gaussian.

    Args:
        image: ppm.
        truth: ppm.
        mask: where the norms are taken; the filter sees the whole array.
        sigma: of the Gaussian, in voxels; default 1.5.

    References:
        Langkammer et al. 2018, MRM 79:1661, doi:10.1002/mrm.26830 (2016 QSM challenge).
    """
    error = _laplacian_of_gaussian(image - truth, sigma) * mask
    detail = _laplacian_of_gaussian(truth, sigma) * mask
    return 100 * jnp.linalg.norm(error.ravel()) / jnp.linalg.norm(detail.ravel())


def _similarity(
    image: Array, truth: Array, mask: Array, *, window: int, c1: float, c2: float, unbiased: bool
) -> Array:
    def mean(array: Array) -> Array:
        return _box_sum(array, window) / count

    count = _voxels_in_window(image.shape, window)
    mean_a, mean_b = mean(image), mean(truth)
    sample = count / (count - 1) if unbiased else 1.0
    variances = sample * (mean(image**2) - mean_a**2 + mean(truth**2) - mean_b**2)
    covariance = sample * (mean(image * truth) - mean_a * mean_b)
    index = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    index = index / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    return jnp.mean(index, where=jnp.asarray(mask))


def _box_sum(array: Array, window: int) -> Array:
    """Sum over a centred cube; outside the array counts nothing."""
    return _separable(array, [jnp.ones(window)] * 3, outside="constant")


def _voxels_in_window(shape: tuple[int, ...], window: int) -> Array:
    """Number of voxels of the cube about each voxel that lie within the array."""
    x, y, z = (jnp.convolve(jnp.ones(n), jnp.ones(window), mode="same") for n in shape)
    return x[:, None, None] * y[:, None] * z


def _laplacian_of_gaussian(image: Array, sigma: float) -> Array:
    radius = int(5 * sigma + 0.5)
    x = jnp.arange(-radius, radius + 1)
    gauss = jnp.exp(-0.5 * (x / sigma) ** 2)
    gauss = gauss / gauss.sum()
    second = gauss * (x**2 / sigma**4 - 1 / sigma**2)
    return sum(  # type: ignore[return-value]
        _separable(image, [second if axis == i else gauss for i in range(3)], outside="symmetric")
        for axis in range(3)
    )


def _separable(image: Array, kernels: list[Array], *, outside: Literal["symmetric", "constant"]) -> Array:
    """Filter along each axis; beyond its border the image is mirrored (edge voxels repeated) or zero.

    A sum of shifted slices: XLA's window reductions take minutes for this on a CPU.
    """
    for axis, kernel in enumerate(kernels):
        radius = kernel.size // 2
        widths = [(radius, radius) if i == axis else (0, 0) for i in range(3)]
        wide = jnp.pad(image, widths, mode=outside)
        size = image.shape[axis]
        image = sum(  # type: ignore[assignment]
            kernel[k] * jax.lax.slice_in_dim(wide, k, k + size, axis=axis) for k in range(kernel.size)
        )
    return image
