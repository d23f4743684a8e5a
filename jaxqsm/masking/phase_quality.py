"""Mask where phase is smooth, from the phase alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from jaxqsm.geometry import Geometry
from jaxqsm.masking.morphology import finished, largest
from jaxqsm.masking.object_scale import object_scale

ROUGHEST = 1.3
"""rad. Second differences of a phase that is all noise have a root mean square of π/√3 = 1.8."""

SMOOTHING = 1.5
"""mm, standard deviation of the Gaussian that quality is averaged over: one voxel may be smooth by chance."""

ADULT_HEAD = 3.4e6
"""mm³ of smooth phase in a scan of an adult head, to which the lengths here belong."""

GAPS = 2.0
"""mm, half the width of gaps that are filled."""

NOWHERE = "the phase is smooth nowhere; pass a mask"


def phase_quality(
    phase: Float[np.ndarray, "x y z *echo"],
    geometry: Geometry,
    *,
    erosion: float | None = None,
) -> Bool[np.ndarray, "x y z"]:
    """Segment the largest region of smooth phase, with its holes filled.

    Use it where the magnitude misleads: bright vessels, surface coils, scans without one.

    Phase is smooth where there is signal, and noise where there is none, whatever the coil and the contrast.
    So it serves where a magnitude does not: bright vessels, strong receive sensitivities. It does not know
    a brain from a scalp.

    Args:
        phase: rad, wrapped; of several echoes the worst counts.
        geometry: voxel size (mm).
        erosion: mm taken off the finished mask, never at the array's border. Default: one layer of voxels;
            0: none.

    Returns:
        Boolean mask with holes filled.

    Raises:
        ValueError: the phase is constant, or smooth nowhere.

    References:
        Abdul-Rahman et al. 2007, Appl Opt 46:6623, doi:10.1364/AO.46.006623 (second differences as quality);
        Hagberg et al. 2022, NMR Biomed 35:e4667, doi:10.1002/nbm.4667 (masks by phase quality in QSM).

    Example:
        >>> image = np.random.default_rng(0).random((24, 24, 24))
        >>> image[4:20, 4:20, 4:20] = 0.1 * np.arange(16)  # smooth phase in noise
        >>> int(phase_quality(6 * image - 3, Geometry()).sum()) > 1000
        True
    """
    echoes = phase[..., None] if phase.ndim == 3 else phase
    if np.ptp(echoes) == 0:
        raise ValueError("the phase is constant, so no mask can be found; pass a mask")
    rough = np.max([_roughness(echoes[..., echo]) for echo in range(echoes.shape[-1])], axis=0)
    voxel_size = np.asarray(geometry.voxel_size)
    smooth = largest(rough < ROUGHEST)
    if not smooth.any():
        raise ValueError(NOWHERE)
    scale = object_scale(smooth, geometry, volume=ADULT_HEAD)
    rough = ndimage.gaussian_filter(rough, SMOOTHING * scale / voxel_size)
    mask = largest(rough < ROUGHEST)
    mask = finished(mask, voxel_size, gaps=GAPS * scale, erosion=erosion)
    if not mask.any():
        raise ValueError(NOWHERE)
    return mask


def _roughness(phase: Float[np.ndarray, "x y z"]) -> Float[np.ndarray, "x y z"]:
    """Root mean square of the three second differences, each wrapped, rad."""
    total = np.zeros(phase.shape)
    for axis in range(3):
        step = np.angle(np.exp(1j * np.diff(phase, axis=axis)))
        bend = np.angle(np.exp(1j * np.diff(step, axis=axis)))
        widths = [(1, 1) if i == axis else (0, 0) for i in range(3)]
        total += np.pad(bend, widths, mode="edge") ** 2
    return np.sqrt(total / 3)
