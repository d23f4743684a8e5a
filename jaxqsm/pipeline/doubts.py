"""Doubts about a result that a person should check, and causes of an empty one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from jaxqsm.geometry import Geometry
from jaxqsm.masking import is_cut_out
from jaxqsm.masking.morphology import depth
from jaxqsm.physics import dipole_kernel
from jaxqsm.pipeline.reconstruct import Maps

MOST_UNRELIABLE, SOME_UNRELIABLE = 0.5, 0.2
"""Shares of voxels whose echoes disagree that explain why nothing is left, and that raise a doubt."""

SPREAD = 0.15
"""ppm, standard deviation of χ; tissue has 0.03 to 0.06."""

RIM = 0.06
"""Depth of the rim, relative to the mask's half width."""

RIM_TO_CORE = 1.5
"""Ratio of the root mean square of χ in the rim to that in the core."""

STRONG_RIM = 0.25
"""ppm, size of χ that one voxel of a hundred in the rim exceeds."""

BRAIN = (700.0, 2000.0)
"""cm³, volumes of masks of an adult brain with some of its surroundings."""

SKEWNESS = -0.6
"""Least skewness of χ in the core; veins and iron make it positive, about 1."""

STREAKS = 2.5
"""Ratio of χ's power per mode in the cone that the field does not show to that beside it."""

CONE, BESIDE = 0.05, (0.1, 0.2)
"""Sizes of the dipole kernel in the cone, and beside it."""

RESIDUAL = 70.0
"""Percent of the local field that χ may leave unexplained."""

LENGTHS = ("radii", "radius", "erosion")
"""Options that say how much of the border of a mask a method needs or gives up."""


def why_nothing_is_left(
    mask: np.ndarray,
    unreliable: np.ndarray,
    geometry: Geometry,
    options: Mapping[str, Mapping[str, Any]],
    *,
    least: float,
) -> str:
    """Explain cause and remedy where no voxel of χ is valid.

    Args:
        mask: that was given or made.
        unreliable: voxels of the mask whose echoes disagree.
        geometry: voxel size.
        options: of the methods that take something off the mask, in true units, by name of method.
        least: reliability below which voxels do not count.
    """
    share = _unreliable_share(mask, unreliable)
    if share > MOST_UNRELIABLE:
        return _disagreement(share, least) + " --reliability 0 lets every voxel count"
    half_width = float(depth(jnp.pad(mask & ~unreliable, 1), geometry).max())
    needs = []
    for name, chosen in options.items():
        for option in LENGTHS:
            if option in chosen:
                value = chosen[option]
                least_length = min(value) if isinstance(value, tuple) else value
                needs.append(f"{name}.{option} is {least_length:.3g} mm (--set {name}.{option}=…)")
    asked = f"; {'; '.join(needs)}" if needs else ""
    return (
        f"no voxel is far enough inside the mask: its half width is {half_width:.3g} mm, "
        f"{100 * share:.0f} % of its voxels are unreliable{asked}: give smaller lengths, or a larger mask"
    )


def doubts_of_echoes(mask: np.ndarray, unreliable: np.ndarray, least: float) -> list[str]:
    """Warn where too many voxels have echoes that disagree; see :func:`why_nothing_is_left`."""
    share = _unreliable_share(mask, unreliable)
    return [_disagreement(share, least)] if share > SOME_UNRELIABLE else []


def _unreliable_share(mask: np.ndarray, unreliable: np.ndarray) -> float:
    return float(unreliable[mask].mean()) if mask.any() else 1.0


def _disagreement(share: float, least: float) -> str:
    return (
        f"the echoes of {100 * share:.0f} % of the mask's voxels disagree with one field (reliability below "
        f"{least:g}): are echo times, the order of the files and the scale of the phase right, and is the "
        "readout bipolar (--bipolar)?"
    )


def doubts_of_maps(maps: Maps[np.ndarray], mask: np.ndarray, geometry: Geometry, scale: float) -> list[str]:
    """List everything implausible in the maps, one sentence each with what to do.

    Args:
        maps: of a whole scan.
        mask: that was given or made.
        geometry: voxel size and field direction.
        scale: size of the object relative to an adult's brain.
    """
    doubts = []
    voxel_size = np.asarray(geometry.voxel_size, float)
    kept = maps.mask.sum() / mask.sum()
    if kept < 0.5:
        doubts.append(
            f"background removal kept only {100 * kept:.0f} % of the mask; give a larger mask, or "
            "smaller radii"
        )
    volume = mask.sum() * voxel_size.prod() / 1000
    if not is_cut_out(jnp.asarray(mask), geometry) and scale > 0.65 and not BRAIN[0] < volume < BRAIN[1]:
        what = "more than a brain: neck, scalp or skull?" if volume > BRAIN[1] else "less than a brain"
        doubts.append(
            f"the mask holds {volume:.0f} cm³, {what} Look at it, and give a mask of your own or "
            "another --mask-method"
        )
    inside = maps.chi[maps.mask]
    spread = float(inside.std())
    if spread > SPREAD:
        doubts.append(
            f"χ varies by {spread:.2f} ppm (standard deviation); tissue has about 0.05: check echo times, "
            "field strength and the scale of the phase"
        )
    far = np.asarray(depth(jnp.pad(maps.mask, 1), geometry))[1:-1, 1:-1, 1:-1]
    doubts += _rim(maps, far, voxel_size)
    misfit = residual_percent(maps)
    if misfit > RESIDUAL:
        doubts.append(
            f"χ explains little of the local field: residual {misfit:.0f} %; check the field direction "
            "(--b0-dir) and the mask"
        )
    doubts += _sign(maps, far, voxel_size)
    doubts += _streaks(maps, geometry)
    return doubts


def residual_percent(maps: Maps[np.ndarray]) -> float:
    """Compute the median absolute residual in percent of that of the local field.

    Medians, because what background removal leaves at the border would outweigh all tissue.
    """
    residual = np.median(np.abs(maps.residual[maps.mask]))
    field = np.median(np.abs(maps.local_field[maps.mask]))
    return 100 * float(residual) / max(float(field), 1e-12)


def _rim(maps: Maps[np.ndarray], far: np.ndarray, voxel_size: np.ndarray) -> list[str]:
    rim = maps.mask & (far <= max(RIM * far.max(), voxel_size.max()))
    core = maps.mask & ~rim
    if min(rim.sum(), core.sum()) < 100:
        return []
    outer, inner = (float(np.sqrt(np.mean(maps.chi[part] ** 2))) for part in (rim, core))
    strongest = float(np.percentile(np.abs(maps.chi[rim]), 99))
    if outer < RIM_TO_CORE * inner or strongest < STRONG_RIM:
        return []
    return [
        f"χ at the border of the mask is {outer / max(inner, 1e-12):.1f} times as strong as inside (beyond "
        f"±{strongest:.2f} ppm in one voxel of a hundred): bone, air or unreliable phase is in the mask; "
        "take some off (--erosion, in mm), or give another mask"
    ]


def _sign(maps: Maps[np.ndarray], far: np.ndarray, voxel_size: np.ndarray) -> list[str]:
    core = maps.mask & (far > max(RIM * 2 * far.max(), 1.5 * voxel_size.max()))
    if core.sum() < 1000:
        return []
    chi = maps.chi[core]
    limit = np.percentile(np.abs(chi), 99.9)
    deviation = np.clip(chi, -limit, limit).astype(np.float64)
    deviation -= deviation.mean()
    # SciPy has it too, in a module that takes half a second to import.
    skewness = float((deviation**3).mean() / max(deviation.std(), 1e-12) ** 3)
    if skewness > SKEWNESS:
        return []
    return [
        f"the strongest χ is negative (skewness {skewness:.1f}), where veins and iron should be positive: "
        "the sign of the phase may be that of the other convention; try --invert-phase"
    ]


def _streaks(maps: Maps[np.ndarray], geometry: Geometry) -> list[str]:
    """Power per mode in the cone where the dipole kernel is zero, against that just beside it."""
    shape = maps.chi.shape
    if min(shape) < 16 or maps.mask.sum() < 4000:
        return []
    window = ndimage.gaussian_filter(maps.mask.astype(np.float32), 1.5) * maps.mask
    power = np.abs(np.fft.rfftn(maps.chi * window)) ** 2
    kernel = np.abs(np.asarray(dipole_kernel(shape, geometry)))
    cycles = np.sqrt(
        np.fft.fftfreq(shape[0])[:, None, None] ** 2
        + np.fft.fftfreq(shape[1])[None, :, None] ** 2
        + np.fft.rfftfreq(shape[2])[None, None, :] ** 2
    )
    middle = (cycles > 0.08) & (cycles < 0.35)
    cone = power[middle & (kernel < CONE)].mean()
    beside = power[middle & (kernel > BESIDE[0]) & (kernel < BESIDE[1])].mean()
    if cone < STREAKS * beside:
        return []
    return [
        f"χ has streaks: {cone / beside:.1f} times the power where the field says nothing (about 55° from "
        "its direction); use a larger weight or threshold, or another inversion"
    ]
