"""One multi-echo scan from its files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.io.errors import InputError
from jaxqsm.io.nifti import Image, load, load_mask, require_same_grid
from jaxqsm.io.orientation import geometry_from
from jaxqsm.io.phase import to_radians

LONGEST_ECHO = 0.5
"""Seconds. Above it, an echo time must be in milliseconds by mistake."""


@dataclasses.dataclass(frozen=True)
class ScanData:
    """One scan in the units of the library.

    Attributes:
        phase: rad, wrapped, ``(x, y, z, echo)``, echoes in order of time.
        magnitude: any unit, same shape.
        mask: ``(x, y, z)``, or None when the user gave none.
        affine: voxel to scanner coordinates.
        geometry: voxel size and field direction.
        acquisition: echo times and field strength.
        files: every file read.
        notes: what was recognised or assumed, one sentence each.
        warnings: what a careful person would check, one sentence each.
    """

    phase: np.ndarray
    magnitude: np.ndarray
    mask: np.ndarray | None
    affine: np.ndarray
    geometry: Geometry
    acquisition: Acquisition
    files: tuple[Path, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def load_scan(
    phase: Sequence[Path],
    magnitude: Sequence[Path],
    *,
    mask: Path | None = None,
    echo_times: Sequence[float] | None = None,
    field_strength: float | None = None,
    b0_dir: Sequence[float] | None = None,
    phase_range: tuple[float, float] | None = None,
    invert_phase: bool = False,
    replace_nonfinite: bool = False,
) -> ScanData:
    """Read phase, magnitude and sidecars, check that they belong together, and convert units.

    Args:
        phase: one 4-D file, or one 3-D file an echo.
        magnitude: likewise; empty for none (then ``mask`` is needed and weights are even).
        mask: optional mask file.
        echo_times: seconds; else ``EchoTime`` of the sidecars.
        field_strength: tesla; else ``MagneticFieldStrength`` of a sidecar.
        b0_dir: field direction in voxel axes; else from the affine.
        phase_range: see :func:`~jaxqsm.io.to_radians`.
        invert_phase: flip the sign, for scanners whose phase falls where the field is higher.
        replace_nonfinite: voxels that are NaN or infinite count as 0 and leave the mask.

    Raises:
        InputError: anything missing, unreadable or at odds.
    """
    if not phase:
        raise InputError("--phase: no file given")
    if not magnitude and mask is None:
        raise InputError("--magnitude: none given; without it a --mask is needed")
    notes: list[str] = []
    warnings: list[str] = []
    phases = [load(p, replace_nonfinite=replace_nonfinite) for p in phase]
    magnitudes = [load(p, replace_nonfinite=replace_nonfinite) for p in magnitude]
    masks = [] if mask is None else [load_mask(mask)]
    for other in [*phases[1:], *magnitudes, *masks]:
        require_same_grid(phases[0], other)

    sidecars = [_sidecar(p) for p in phase] or [{}]
    magnitude_sidecars = [_sidecar(p) for p in magnitude]
    stored = _stacked(phases)
    echoes = stored.shape[-1]
    if magnitudes:
        brightness = np.abs(_stacked(magnitudes))
        if brightness.shape[-1] != echoes:
            raise InputError(
                f"{magnitude[0]}: {brightness.shape[-1]} echoes of magnitude but {echoes} of phase "
                f"in {phase[0]}; give one of each an echo"
            )
    else:
        brightness = np.ones_like(stored)
        warnings.append("no magnitude: all voxels and echoes are weighted alike")

    times = _echo_times(echo_times, [sidecars, magnitude_sidecars], phase, echoes)
    order = np.argsort(times, kind="stable")
    strength = _field_strength(field_strength, [*sidecars, *magnitude_sidecars], phase[0])
    radians, recognised = to_radians(
        stored, units=sidecars[0].get("Units"), phase_range=phase_range, name=str(phase[0])
    )
    notes.append(recognised)
    if replace_nonfinite:
        notes.append("voxels that are NaN or infinite were replaced by 0")
    notes.append(
        "phase sign inverted as asked (--invert-phase)"
        if invert_phase
        else "phase is taken to grow where the field is higher; if veins come out dark in χ, pass "
        "--invert-phase"
    )
    geometry = geometry_from(phases[0].affine, b0_dir=b0_dir, path=phase[0])
    direction = " ".join(f"{v:.4f}" for v in np.asarray(geometry.unit_b0_dir))
    origin = "the NIfTI affine" if b0_dir is None else "--b0-dir"
    notes.append(f"field direction in voxel axes from {origin}: {direction}")
    return ScanData(
        phase=(-radians if invert_phase else radians)[..., order],
        magnitude=brightness[..., order],
        mask=masks[0].data if masks else None,
        affine=phases[0].affine,
        geometry=geometry,
        acquisition=Acquisition(np.asarray(times)[order], strength),
        files=tuple(image.path for image in [*phases, *magnitudes, *masks]),
        notes=tuple(notes),
        warnings=tuple(warnings),
    )


def load_magnitude(
    paths: Sequence[Path], *, echo_times: Sequence[float] | None = None
) -> tuple[Image, np.ndarray]:
    """Read the magnitude of several echoes alone, for fits of its decay.

    Args:
        paths: one 4-D file, or one 3-D file an echo.
        echo_times: seconds; else ``EchoTime`` of the sidecars.

    Returns:
        The first image with the data of all echoes, ``(x, y, z, echo)`` in order of time, and the echo times
        in seconds.

    Raises:
        InputError: anything missing, unreadable or at odds; fewer than two echoes.
    """
    if not paths:
        raise InputError("no magnitude file given")
    images = [load(path) for path in paths]
    for other in images[1:]:
        require_same_grid(images[0], other)
    stored = np.abs(_stacked(images))
    if stored.shape[-1] < 2:
        raise InputError(f"{paths[0]}: has one echo; decay needs two at least")
    times = _echo_times(echo_times, [[_sidecar(p) for p in paths]], paths, stored.shape[-1])
    order = np.argsort(times, kind="stable")
    return dataclasses.replace(images[0], data=stored[..., order]), np.asarray(times)[order]


def _stacked(images: Sequence[Image]) -> np.ndarray:
    if len(images) == 1:
        data = images[0].data
        return data if data.ndim == 4 else data[..., None]
    for image in images:
        if image.data.ndim != 3:
            raise InputError(
                f"{image.path}: is 4-D, but several files were given; "
                "give one 4-D file or one 3-D file an echo"
            )
    return np.stack([image.data for image in images], axis=-1)


def _sidecar(image: Path) -> dict[str, Any]:
    name = image.name.removesuffix(".gz").removesuffix(".nii")
    path = image.with_name(name + ".json")
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: is not valid JSON ({error}); repair or remove it") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no JSON object; repair or remove it")
    return content


def _echo_times(
    given: Sequence[float] | None,
    sidecar_sets: Sequence[Sequence[dict[str, Any]]],
    phase: Sequence[Path],
    echoes: int,
) -> list[float]:
    times, source = list(given or []), "--echo-times"
    for sidecars in sidecar_sets:
        if times:
            break
        entries = [s.get("EchoTime") for s in sidecars]
        flat = [t for entry in entries for t in (entry if isinstance(entry, list) else [entry])]
        found = [float(t) for t in flat if isinstance(t, int | float)]
        if found and len(found) == len(flat):
            times, source = found, f"EchoTime of {phase[0].name}'s JSON sidecar"
    if not times:
        raise InputError(f"{phase[0]}: no EchoTime in a JSON sidecar beside it; pass --echo-times in seconds")
    if len(times) != echoes:
        raise InputError(
            f"{phase[0]}: {echoes} echoes but {len(times)} echo times ({source}); give one an echo"
        )
    if not all(0 < t < LONGEST_ECHO for t in times):
        raise InputError(
            f"echo times {times} ({source}): seconds between 0 and {LONGEST_ECHO} are needed; "
            "are these milliseconds? Pass --echo-times in seconds"
        )
    if len(set(times)) != len(times):
        raise InputError(f"echo times {times} ({source}): two are equal; pass --echo-times")
    return times


def _field_strength(given: float | None, sidecars: Sequence[dict[str, Any]], path: Path) -> float:
    values = [given] if given is not None else [s.get("MagneticFieldStrength") for s in sidecars]
    for value in values:
        if isinstance(value, int | float):
            if not 0.01 < value < 30:
                raise InputError(f"field strength {value}: tesla are needed; pass --field-strength")
            return float(value)
    raise InputError(
        f"{path}: no MagneticFieldStrength in a JSON sidecar beside it; pass --field-strength in tesla"
    )
