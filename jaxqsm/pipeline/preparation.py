"""Preparation of a scan before physics: scanner faults, mask, size of the object."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from jaxqsm.field_mapping import alternating_sign, bipolar_offset, evenly_spaced, without_alternation
from jaxqsm.io import InputError, ScanData
from jaxqsm.masking import object_scale
from jaxqsm.masking.morphology import depth, largest
from jaxqsm.methods import METHODS
from jaxqsm.operators import erode as eroded
from jaxqsm.pipeline.box import Box, box_around, cut
from jaxqsm.pipeline.stage import Stage

ALTERNATING = 0.3
"""rad, root mean square, by which every second echo is off where a readout may be bipolar."""


@dataclasses.dataclass(frozen=True)
class MaskConfig:
    """Mask configuration: the method where none is given, and the erosion.

    Attributes:
        method: name of a method of the stage ``mask``. Default ``"magnitude"``.
        erosion: mm taken off the border of the mask, given or made. Default 0.

    Raises:
        ValueError: unknown method, or a length below zero.
    """

    method: str = "magnitude"
    erosion: float = 0.0

    def __post_init__(self) -> None:
        if self.method not in METHODS["mask"]:
            raise ValueError(
                f"mask method {self.method!r} is unknown; use one of {', '.join(METHODS['mask'])}"
            )
        if not 0 <= self.erosion < 1e3:
            raise ValueError(f"erosion of the mask {self.erosion:g}: mm of 0 or more are needed")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A scan that is ready for :func:`~jaxqsm.pipeline.reconstruct`.

    Attributes:
        signal: complex64, cut to the box.
        mask: of the whole scan.
        box: around the mask.
        scale: size of the object relative to an adult's brain.
        notes: what was found and done, one sentence each.
        warnings: what a careful person would check, one sentence each.
    """

    signal: np.ndarray
    mask: np.ndarray
    box: Box
    scale: float
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def prepare(
    scan: ScanData,
    masking: MaskConfig,
    *,
    bipolar: bool,
    stage: Stage,
) -> Prepared:
    """Make the mask if there is none, cut to it, and undo what scanners leave in the sign of the signal.

    Args:
        scan: from :func:`jaxqsm.io.load_scan`.
        masking: how the mask is made.
        bipolar: echoes are known to be read in alternating directions.
        stage: surrounds the making of the mask.

    Raises:
        InputError: no mask can be found, or nothing is left of it.
    """
    notes, warnings = [], []
    with stage("mask"):
        mask = _mask(scan, masking)
    notes.append(f"mask by {masking.method}" if scan.mask is None else "mask as given by the user")
    if masking.erosion > 0:
        notes.append(f"{masking.erosion:g} mm were taken off the border of the mask")
    box = box_around(mask)
    inside = cut(mask, box)
    signal = (cut(scan.magnitude, box) * np.exp(1j * cut(scan.phase, box))).astype(np.complex64)
    axes = np.asarray(alternating_sign(jnp.asarray(signal), jnp.asarray(inside)))
    if axes.any():
        signal = np.asarray(without_alternation(jnp.asarray(signal), jnp.asarray(axes)))
        notes.append(_said(axes, scan))
    if not bipolar:
        warnings += _doubts_of_readout(signal, inside, scan)
    if scan.acquisition.echo_times.size == 1:
        notes.append("one echo: its phase offset stays in the total field")
    scale = float(object_scale(jnp.asarray(mask), scan.geometry))
    if not 0.8 < scale < 1.25:
        notes.append(
            f"the object is {scale:.2g} times as long as an adult brain; default lengths (radii, erosions, "
            "weights) follow it"
        )
    return Prepared(signal, mask, box, scale, tuple(notes), tuple(warnings))


def _mask(scan: ScanData, masking: MaskConfig) -> np.ndarray:
    made = scan.mask is None
    mask = _made(scan, masking.method) if scan.mask is None else scan.mask
    holes = mask & scan.nonfinite
    if made and holes.any():
        # NaN that touches what lies outside the mask is outside; the rest is missing tissue.
        around, _ = ndimage.label(~mask | scan.nonfinite)
        outside = np.isin(around, np.unique(around[~mask & (around > 0)]))
        missing = holes & ~outside
        if missing.any() and not scan.replaced:
            raise InputError(
                f"{scan.files[0]}: {int(missing.sum())} voxels are NaN or infinite inside the mask; repair "
                "the file, or pass --replace-nonfinite to treat them as 0"
            )
    mask = mask & ~scan.nonfinite & (scan.magnitude > 0).any(axis=-1)
    if not mask.any():
        raise InputError(
            f"{scan.files[0]}: no voxel of the mask has signal; is the mask of this scan? Give another mask"
        )
    if masking.erosion > 0:
        half_width = float(depth(jnp.pad(mask, 1), scan.geometry).max())
        mask = np.asarray(eroded(jnp.asarray(mask), masking.erosion, scan.geometry))
        if not mask.any():
            raise InputError(
                f"--erosion {masking.erosion:g}: nothing is left of a mask whose half width is "
                f"{half_width:.3g} mm; give less"
            )
        mask = np.asarray(largest(jnp.asarray(mask))) if made else mask
    return mask


def _made(scan: ScanData, name: str) -> np.ndarray:
    method = METHODS["mask"][name]
    image = scan.phase if name == "phase_quality" else scan.magnitude
    keywords = {"affine": scan.grid.affine} if method.takes("affine") else {}
    try:
        return np.asarray(method.function(image, scan.geometry, **keywords))
    except ValueError as error:
        raise InputError(f"{scan.files[0]}: {error}") from error


def _said(axes: np.ndarray, scan: ScanData) -> str:
    stored = {int(held): axis for axis, (held, _) in enumerate(scan.grid.order)}
    names = " and ".join("xyz"[stored[int(axis)]] for axis in np.flatnonzero(axes.any(axis=0)))
    echoes = (
        ""
        if axes.any(axis=1).all()
        else f" of echo {' '.join(str(1 + e) for e in np.flatnonzero(axes.any(1)))}"
    )
    return (
        f"the phase{echoes} was off by π in every other voxel along {names} (k-space not shifted before the "
        "transform, as some GE scanners leave it); undone"
    )


def _doubts_of_readout(signal: np.ndarray, mask: np.ndarray, scan: ScanData) -> list[str]:
    """Doubts about echoes that look as if read in alternating directions."""
    times = np.asarray(scan.acquisition.echo_times)
    if times.size < 3 or not evenly_spaced(times):
        return []
    offset = bipolar_offset(jnp.asarray(signal), jnp.asarray(mask), scan.geometry)
    size = np.sqrt(np.mean(np.asarray(offset)[mask] ** 2))
    if size < ALTERNATING:
        return []
    return [f"every second echo is off by {size:.1f} rad: if echoes alternate in direction, use --bipolar"]
