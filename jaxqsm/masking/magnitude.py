"""Brain-or-signal mask from a magnitude image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage.filters import threshold_otsu

from jaxqsm.geometry import Geometry
from jaxqsm.masking.morphology import closed, largest, near, peeled
from jaxqsm.masking.morphology import depth as depth_of

COARSE = 2.0
"""Voxel size in mm on which the shape of the mask is judged."""


def magnitude(
    image: Float[np.ndarray, "x y z *echo"],
    geometry: Geometry,
    *,
    neck: float = 18.0,
    erosion: int = 1,
) -> Bool[np.ndarray, "x y z"]:
    """Largest compact bright region, cut where it hangs on others by less than ``2 · neck`` mm.

    In a head the cuts fall into the skull base and the neck and leave the brain; in a phantom or a
    small crop, which have no such bridges, the whole signal is left. Beyond the array the image is
    taken to continue, so a crop is not eroded where it was cut.

    Args:
        image: magnitude, any unit; echoes are averaged.
        geometry: voxel size (mm).
        neck: largest half width in mm of a bridge that is cut; default 18. Never more than
            two sevenths of the region's own half width, so that small objects stay whole.
        erosion: layers of voxels taken off the finished mask, never at the array's border. Default
            1: voxels at the border hold part bone or air, whose field no background method removes.

    Returns:
        Boolean mask with holes filled.

    Raises:
        ValueError: the image is constant, or no signal is found in it.

    References:
        Otsu 1979, IEEE Trans SMC 9:62, doi:10.1109/TSMC.1979.4310076 (threshold, by scikit-image).
    """
    mean = np.asarray(image, np.float32)
    if mean.ndim == 4:
        mean = mean.mean(axis=-1)
    if not mean.max() > mean.min():
        raise ValueError("the magnitude is constant, so no mask can be found; pass a mask")
    voxel_size = np.asarray(geometry.voxel_size)
    # Shape is judged on a grid of about 2 mm, brightness on that of the image.
    factors = np.maximum(1, np.round(COARSE / voxel_size)).astype(int)
    coarse, coarse_size = _averaged(mean, factors), voxel_size * factors
    bias = _bias(coarse, coarse_size)
    signal = largest(_bright(coarse, bias))
    depth = depth_of(signal, coarse_size)
    radius = min(neck, depth.max() * 2 / 7)
    core = largest(depth > radius)
    # The first growth undoes the erosion; the second returns the gyri that it rounded off.
    region = near(near(core, radius, coarse_size) & signal, radius / 4, coarse_size)
    bright = _bright(mean, _repeated(bias, factors, mean.shape))
    mask = largest(_repeated(region, factors, mean.shape) & bright)
    mask = ndimage.binary_fill_holes(closed(mask, 2.0, voxel_size))
    mask = peeled(mask, erosion)
    if not mask.any():
        raise ValueError("no region of signal was found in the magnitude; pass a mask")
    return mask


def _averaged(image: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Mean over blocks; the last block of an axis repeats the border where it is not full."""
    widths = [(0, -n % f) for n, f in zip(image.shape, factors, strict=True)]
    x, y, z = (-(-n // f) for n, f in zip(image.shape, factors, strict=True))
    fx, fy, fz = factors
    blocks = np.pad(image, widths, mode="edge").reshape(x, fx, y, fy, z, fz)
    return blocks.mean(axis=(1, 3, 5))


def _repeated(coarse: np.ndarray, factors: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    for axis, factor in enumerate(factors):
        coarse = np.repeat(coarse, factor, axis=axis)
    return coarse[tuple(slice(n) for n in shape)]


def _bias(image: np.ndarray, voxel_size: np.ndarray) -> np.ndarray:
    """Mean signal within some centimetres: receive sensitivities vary by a factor of several."""
    signal = image > 0.5 * threshold_otsu(np.minimum(image, np.percentile(image, 99.5)))
    reach = 30.0 / voxel_size
    near = ndimage.gaussian_filter(signal.astype(np.float32), reach, truncate=2)
    mean = ndimage.gaussian_filter(np.where(signal, image, 0), reach, truncate=2)
    # Far from all signal nothing is bright.
    return np.where(near > 1e-3, mean / np.maximum(near, 1e-3), np.inf)


def _bright(image: np.ndarray, bias: np.ndarray) -> np.ndarray:
    flat = image / bias
    return flat > 0.6 * threshold_otsu(np.minimum(flat, 2.0))
