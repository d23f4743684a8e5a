"""Brain-or-signal mask from a magnitude image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from jaxqsm.geometry import Geometry
from jaxqsm.masking.morphology import depth as depth_of
from jaxqsm.masking.morphology import finished, largest, near
from jaxqsm.masking.object_scale import is_cut_out, object_scale

ADULT_HEAD = 3.4e6
"""mm³ of signal in a scan of an adult head, to which all lengths here belong."""

COARSE = 2.0
"""Voxel size in mm on which the shape of the mask is found."""

REACH = 30.0
"""mm, standard deviation of the Gaussian that receive sensitivities are estimated by."""

REGROWTH = 3.0
"""mm by which the region grows beyond its core's own reach, back into gyri that it had rounded off."""

GAPS = 2.0
"""mm, half the width of gaps that are filled."""

NECK = 0.4
"""Half width of bridges that are cut, relative to the region's own half width."""

SADDLE = 0.12
"""Part of the region's half width by which it must narrow for two parts to count as two."""


def magnitude(
    image: Float[np.ndarray, "x y z *echo"],
    geometry: Geometry,
    *,
    neck: float | None = None,
    erosion: float | None = None,
) -> Bool[np.ndarray, "x y z"]:
    """Segment the largest compact bright region, cut at its narrows and thin bridges.

    Use it by default, for brains and phantoms with a magnitude image.

    In a head the cuts fall into the neck, at its narrowest, and into the skull base, and leave the brain; in
    a phantom or a small crop, which have neither, the whole signal is left. Beyond the array the image is
    taken to continue, so a crop is not eroded where it was cut. All lengths follow the size of the object.

    Args:
        image: magnitude, any unit; echoes are averaged.
        geometry: voxel size (mm).
        neck: largest half width in mm of a bridge that is cut. Default: two fifths of the region's own half
            width.
        erosion: mm taken off the finished mask, never at the array's border. Default: one layer of voxels,
            since those of the border hold part bone or air; 0: none.

    Returns:
        Boolean mask with holes filled.

    Raises:
        ValueError: the image is constant, or no signal is found in it.

    References:
        Otsu 1979, IEEE Trans SMC 9:62, doi:10.1109/TSMC.1979.4310076 (threshold, by scikit-image).

    Example:
        >>> image = np.full((24, 24, 24), 0.01)
        >>> image[4:20, 4:20, 4:20] = 1 + np.arange(16) / 100
        >>> int(magnitude(image, Geometry(), erosion=0.0).sum()) > 3000
        True
    """
    mean = np.asarray(image, np.float32)
    if mean.ndim == 4:
        mean = mean.mean(axis=-1)
    if not mean.max() > mean.min():
        raise ValueError("the magnitude is constant, so no mask can be found; pass a mask")
    mean = mean / mean.max()
    voxel_size = np.asarray(geometry.voxel_size)
    scale = object_scale(_signal(mean), geometry, volume=ADULT_HEAD)
    # Shape is judged on a coarse grid, brightness on that of the image.
    factors = np.maximum(1, np.round(COARSE * scale / voxel_size)).astype(int)
    coarse, coarse_size = _averaged(mean, factors), voxel_size * factors
    bias = _bias(coarse, REACH * scale / coarse_size)
    signal = largest(_bright(coarse, bias))
    if not is_cut_out(signal, Geometry(coarse_size)):
        signal = _widest_part(signal, coarse_size)
    depth = depth_of(signal, coarse_size)
    radius = NECK * depth.max() if neck is None else min(neck, NECK * depth.max())
    core = largest(depth > radius)
    # The first growth undoes the erosion; the second returns the gyri that it rounded off.
    region = near(near(core, radius, coarse_size) & signal, REGROWTH * scale, coarse_size)
    bright = _bright(mean, _repeated(bias, factors, mean.shape))
    mask = largest(_repeated(region, factors, mean.shape) & bright)
    mask = finished(mask, voxel_size, gaps=GAPS * scale, erosion=erosion)
    if not mask.any():
        raise ValueError("no region of signal was found in the magnitude; pass a mask")
    return mask


def _widest_part(signal: np.ndarray, voxel_size: np.ndarray) -> np.ndarray:
    """The part about the deepest voxel, where the signal falls into parts at its narrows: a watershed."""
    depth = depth_of(signal, voxel_size)
    deepest = float(depth.max())
    smooth = ndimage.gaussian_filter(np.minimum(depth, deepest), 1.0)
    tops, count = ndimage.label(h_maxima(smooth, SADDLE * deepest))
    if count < 2:
        return signal
    parts = watershed(-smooth, tops, mask=signal)
    return parts == parts[np.unravel_index(np.argmax(np.where(signal, depth, 0)), depth.shape)]


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


def _signal(image: np.ndarray) -> np.ndarray:
    return image > 0.5 * threshold_otsu(np.minimum(image, np.percentile(image, 99.5)))


def _bias(image: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Mean signal within some centimetres: receive sensitivities vary by a factor of several."""
    signal = _signal(image)
    near = ndimage.gaussian_filter(signal.astype(np.float32), reach, truncate=2)
    mean = ndimage.gaussian_filter(np.where(signal, image, 0), reach, truncate=2)
    # Far from all signal nothing is bright.
    return np.where(near > 1e-3, mean / np.maximum(near, 1e-3), np.inf)


def _bright(image: np.ndarray, bias: np.ndarray) -> np.ndarray:
    flat = image / bias
    return flat > 0.6 * threshold_otsu(np.minimum(flat, 2.0))
