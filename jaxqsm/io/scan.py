"""Files of one multi-echo scan, brought to the units of the library."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxqsm.geometry import GYROMAGNETIC_RATIO, Acquisition, Geometry
from jaxqsm.io.errors import InputError
from jaxqsm.io.grid import Grid, angle_between
from jaxqsm.io.nifti import Image, finite_within, load, load_mask, require_same_grid
from jaxqsm.io.orientation import direction_from
from jaxqsm.io.parts import doubts_of_order, require_phase_and_magnitude
from jaxqsm.io.phase_files import radians_of
from jaxqsm.io.sidecar import Sidecar, sidecar_of

LONGEST_ECHO = 0.5
"""Seconds. Above it, an echo time must be in milliseconds by mistake."""

SAME_TIME = 2e-5
"""Seconds by which two statements of an echo time may differ."""


@dataclasses.dataclass(frozen=True)
class ScanData:
    """One scan in the units of the library; arrays as :class:`~jaxqsm.io.Grid` holds them.

    Attributes:
        phase: rad, wrapped, ``(x, y, z, echo)``, echoes in order of time.
        magnitude: 0 to 1, relative to its largest value, same shape.
        mask: ``(x, y, z)``, or None when the user gave none.
        nonfinite: where the files have NaN or infinity, ``(x, y, z)``; both images are 0 there.
        replaced: whether these may lie within the mask.
        grid: of the first file.
        geometry: voxel size and field direction.
        acquisition: echo times and field strength.
        files: every file read.
        notes: what was recognised or assumed, one sentence each.
        warnings: what a careful person would check, one sentence each.
    """

    phase: np.ndarray
    magnitude: np.ndarray
    mask: np.ndarray | None
    nonfinite: np.ndarray
    replaced: bool
    grid: Grid
    geometry: Geometry
    acquisition: Acquisition
    files: tuple[Path, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Series:
    """Files of one part of the signal, as given.

    Attributes:
        option: how it was given, for messages.
        images: one 4-D image, or one 3-D image an echo.
        sidecars: of each.
    """

    option: str
    images: Sequence[Image]
    sidecars: Sequence[Sidecar]

    @property
    def data(self) -> np.ndarray:
        """``(x, y, z, echo)`` in the order of the files."""
        return stacked(self.images)

    @property
    def times(self) -> list[float]:
        """``EchoTime`` of its sidecars in that order; empty where one is missing."""
        each = [sidecar.numbers("EchoTime") for sidecar in self.sidecars]
        return [time for times in each for time in times] if all(each) else []


def load_scan(
    phase: Sequence[Path] = (),
    magnitude: Sequence[Path] = (),
    *,
    complex_images: Sequence[Path] = (),
    real: Sequence[Path] = (),
    imaginary: Sequence[Path] = (),
    mask: Path | None = None,
    echo_times: Sequence[float] | None = None,
    field_strength: float | None = None,
    b0_dir: Sequence[float] | None = None,
    phase_range: tuple[float, float] | None = None,
    invert_phase: bool = False,
    replace_nonfinite: bool = False,
    dataset: Path | None = None,
) -> ScanData:
    """Read images and sidecars, check that they belong together, and convert units.

    Args:
        phase: one 4-D file, or one 3-D file an echo.
        magnitude: likewise; empty for none (then ``mask`` is needed and weights are even).
        complex_images: likewise, complex: in place of both.
        real: likewise, the real part: with ``imaginary`` in place of all others.
        imaginary: likewise.
        mask: optional mask file.
        echo_times: seconds, in the order of the files; else ``EchoTime`` of the sidecars.
        field_strength: tesla; else ``MagneticFieldStrength`` of a sidecar.
        b0_dir: field direction in voxel axes of the files; else ``B0_dir`` of a sidecar; else the header's.
        phase_range: see :func:`~jaxqsm.io.to_radians`.
        invert_phase: flip the sign, for scanners whose phase falls where the field is higher.
        replace_nonfinite: voxels that are NaN or infinite within the mask count as 0 and leave the mask.
        dataset: root of the BIDS dataset whose sidecars are inherited. Default: only those beside the files.

    Raises:
        InputError: anything missing, unreadable or at odds.
    """
    notes: list[str] = []
    warnings: list[str] = []

    def series(option: str, paths: Sequence[Path]) -> Series:
        images = [load(p, keep_nonfinite=True, allow_complex=option == "--complex") for p in paths]
        return Series(option, images, [sidecar_of(p, dataset) for p in paths])

    groups = _groups(phase, magnitude, complex_images, real, imaginary, mask)
    parts = [series(option, paths) for option, paths in groups.items()]
    first = parts[0].images[0]
    masks = [] if mask is None else [load_mask(mask)]
    for other in [*(image for part in parts for image in part.images), *masks]:
        require_same_grid(first, other)
    require_phase_and_magnitude(parts)

    inside = masks[0].data if masks else None
    parts, nonfinite = _finite(parts, inside, replace_nonfinite, notes)
    times, orders = _in_time(parts, echo_times, warnings)
    parts_data = [part.data[..., order] for part, order in zip(parts, orders, strict=True)]
    strength = _field_strength(field_strength, parts, notes)
    if complex_images:
        signal = parts_data[0]
        if signal.dtype.kind != "c":
            raise InputError(f"{first.path}: holds no complex values; pass it as --phase or --magnitude")
        radians, brightness = np.angle(signal).astype(np.float32), np.abs(signal)
        notes.append("phase and magnitude are those of complex images")
    elif real:
        radians = np.arctan2(parts_data[1], parts_data[0])
        brightness = np.hypot(parts_data[0], parts_data[1])
        notes.append("phase and magnitude are those of real and imaginary images")
    else:
        radians, recognised, differ = radians_of(parts[0], phase_range, magnitude=parts[1:])
        radians = radians[..., orders[0]]
        notes += recognised
        warnings += differ
        if magnitude:
            brightness = np.maximum(parts_data[1], 0)
        else:
            brightness = np.ones_like(radians)
            warnings.append("no magnitude: all voxels and echoes are weighted alike")
    warnings += doubts_of_order(brightness)
    largest = float(brightness.max())
    if not largest > 0:
        raise InputError(f"{parts[-1].images[0].path}: the magnitude is zero everywhere; pass another file")

    notes.append(
        "phase sign inverted as asked (--invert-phase)"
        if invert_phase
        else "phase is taken to grow where the field is higher; if veins come out dark in χ, pass "
        "--invert-phase"
    )
    notes += first.grid.said
    sidecars = [sidecar for part in parts for sidecar in part.sidecars]
    geometry, doubts, origin = direction_of_field(first, sidecars, b0_dir)
    warnings += doubts
    direction = " ".join(f"{v:.4f}" for v in first.grid.stored_direction(np.asarray(geometry.unit_b0_dir)))
    notes.append(f"field direction in voxel axes from {origin}: {direction}")
    return ScanData(
        phase=-radians if invert_phase else radians,
        magnitude=(brightness / largest).astype(np.float32),
        mask=None if inside is None else inside & ~nonfinite,
        nonfinite=nonfinite,
        replaced=replace_nonfinite,
        grid=first.grid,
        geometry=geometry,
        acquisition=Acquisition(np.asarray(times), strength),
        files=tuple(image.path for image in [*(i for part in parts for i in part.images), *masks]),
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
        The first image with the data of all echoes relative to their largest, ``(x, y, z, echo)`` in order of
        time, NaN where a file is not finite, and the echo times in seconds.

    Raises:
        InputError: anything missing, unreadable or at odds; fewer than two echoes.
    """
    if not paths:
        raise InputError("no magnitude file given")
    images = [load(path, keep_nonfinite=True) for path in paths]
    for other in images[1:]:
        require_same_grid(images[0], other)
    part = Series("the magnitude", images, [sidecar_of(p) for p in paths])
    require_phase_and_magnitude([part])
    if part.data.shape[-1] < 2:
        raise InputError(f"{paths[0]}: has one echo; decay needs two at least")
    times, (order,) = _in_time([part], echo_times, [])
    data = part.data[..., order]
    brightness = np.where(np.isfinite(data), np.maximum(data, 0), np.nan)
    brightness = brightness / max(float(np.nanmax(brightness)), 1e-30)
    return dataclasses.replace(images[0], data=brightness.astype(np.float32)), np.asarray(times)


def direction_of_field(
    image: Image, sidecars: Sequence[Sidecar], b0_dir: Sequence[float] | None
) -> tuple[Geometry, tuple[str, ...], str]:
    """Read the field direction of an image: as asked, else ``B0_dir``, else from the header.

    Returns:
        The geometry, doubts about it, and where the direction comes from.

    Raises:
        InputError: a direction that is none.
    """
    if b0_dir is not None:
        return image.grid.geometry(b0_dir=b0_dir, path=image.path), (), "--b0-dir"
    for sidecar in sidecars:
        stated = sidecar.numbers("B0_dir")
        if stated:
            name = f"{sidecar.files['B0_dir']}: B0_dir"
            geometry = image.grid.geometry(b0_dir=direction_from(stated, name=name), path=image.path)
            header = image.grid.geometry(path=image.path)
            angle = angle_between(np.asarray(geometry.unit_b0_dir), np.asarray(header.unit_b0_dir))
            doubts = (
                () if angle < 1 else (f"{name} and the header differ by {angle:.1f}°; the former is used",)
            )
            return geometry, doubts, "the sidecar's B0_dir"
    return image.grid.geometry(path=image.path), image.grid.doubts, "the NIfTI header"


def stacked(images: Sequence[Image]) -> np.ndarray:
    """Stack one 4-D image, or one 3-D image an echo, to ``(x, y, z, echo)``.

    Raises:
        InputError: several images of which one is 4-D.
    """
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


def _groups(
    phase: Sequence[Path],
    magnitude: Sequence[Path],
    complex_images: Sequence[Path],
    real: Sequence[Path],
    imaginary: Sequence[Path],
    mask: Path | None,
) -> dict[str, Sequence[Path]]:
    """The series to read, by option; one way to give the signal."""
    given = {"--complex": complex_images, "--real": real, "--imaginary": imaginary}
    others = {option: paths for option, paths in given.items() if paths}
    if others and (phase or magnitude):
        raise InputError(f"{next(iter(others))}: give either this or --phase and --magnitude, not both")
    if complex_images and (real or imaginary):
        raise InputError("--complex: give either this or --real and --imaginary, not both")
    if bool(real) != bool(imaginary):
        raise InputError("--real and --imaginary: each needs the other")
    if others:
        return others
    if not phase:
        raise InputError("--phase: no file given (nor --complex, nor --real and --imaginary)")
    if not magnitude and mask is None:
        raise InputError("no magnitude given; without it a mask is needed (--mask; of bids --masks)")
    return {"--phase": phase} | ({"--magnitude": magnitude} if magnitude else {})


def _finite(
    parts: Sequence[Series], mask: np.ndarray | None, replace: bool, notes: list[str]
) -> tuple[list[Series], np.ndarray]:
    """The parts with 0 for NaN and infinity, and where those are; within a mask they must be allowed."""
    nonfinite = np.zeros(parts[0].images[0].data.shape[:3], bool)
    clean = []
    for part in parts:
        images = []
        for image in part.images:
            broken = ~np.isfinite(image.data)
            nonfinite |= broken if broken.ndim == 3 else broken.any(axis=-1)
            images.append(finite_within(image, mask, replace=replace or mask is None))
        clean.append(dataclasses.replace(part, images=images))
    if nonfinite.any():
        share = 100 * nonfinite.mean()
        notes.append(
            f"{share:.2g} % of the voxels are NaN or infinite; they count as 0 and are not in the mask"
        )
    return clean, nonfinite


def _in_time(
    parts: Sequence[Series], given: Sequence[float] | None, warnings: list[str]
) -> tuple[list[float], list[np.ndarray]]:
    """Echo times in order, and the positions of every part's echoes in that order.

    A part is in the order that its own sidecars say; else in that of the times, which are given or another
    part's, file by file.
    """
    first = parts[0]
    echoes = first.data.shape[-1]
    stated = [part.times for part in parts]
    path = first.images[0].path
    if given:
        times, source = [float(t) for t in given], "--echo-times"
    else:
        times = next((t for t in stated if t), [])
        source = f"EchoTime of {path.name}'s JSON sidecar"
    if not times:
        raise InputError(f"{path}: no EchoTime in a JSON sidecar beside it; pass --echo-times in seconds")
    if len(times) != echoes:
        raise InputError(f"{path}: {echoes} echoes but {len(times)} echo times ({source}); give one an echo")
    if not all(0 < t < LONGEST_ECHO for t in times):
        raise InputError(
            f"echo times {times} ({source}): seconds between 0 and {LONGEST_ECHO} are needed; "
            "are these milliseconds? Pass --echo-times in seconds"
        )
    if len(set(times)) != len(times):
        raise InputError(f"echo times {times} ({source}): two are equal; pass --echo-times")
    for part, own in zip(parts, stated, strict=True):
        if part.data.shape[-1] != echoes:
            raise InputError(
                f"{part.images[0].path}: {part.data.shape[-1]} echoes of {part.option.strip('-')} but "
                f"{echoes} of {first.option.strip('-')} in {path}; give one of each an echo"
            )
        if own and len(own) != echoes:
            raise InputError(
                f"{part.images[0].path}: {echoes} echoes of {part.option.strip('-')} but {len(own)} echo "
                "times in its sidecars; give one an echo"
            )
        if own and not _alike(own, times):
            same = _alike(sorted(own), sorted(times))
            if given and same:
                raise InputError(
                    f"--echo-times {_listed(times)}: the sidecars of {part.option} say {_listed(own)} for "
                    "these files; give the files in the order of the times, or leave --echo-times out"
                )
            if given:
                warnings.append(
                    f"--echo-times {_listed(times)} are used, but the sidecars of {part.option} say "
                    f"{_listed(own)}"
                )
            elif not same:
                raise InputError(
                    f"{part.images[0].path}: echo times {_listed(own)} of {part.option} differ from "
                    f"{_listed(times)} of {first.option}; are both of one scan?"
                )
    orders = [np.argsort(times if given or not own else own, kind="stable") for own in stated]
    return sorted(times), orders


def _alike(first: Sequence[float], second: Sequence[float]) -> bool:
    return np.allclose(first, second, rtol=0, atol=SAME_TIME)


def _listed(times: Sequence[float]) -> str:
    return " ".join(f"{t:g}" for t in times)


def _field_strength(given: float | None, parts: Sequence[Series], notes: list[str]) -> float:
    path = parts[0].images[0].path
    stated = {}
    for sidecar in (sidecar for part in parts for sidecar in part.sidecars):
        value = sidecar.number("MagneticFieldStrength")
        if value is not None:
            stated[value] = sidecar.files["MagneticFieldStrength"]
    if given is None and len(stated) > 1 and max(stated) > 1.02 * min(stated):
        raise InputError(
            f"MagneticFieldStrength: {' and '.join(f'{v:g} in {p}' for v, p in stated.items())} differ; "
            "are the files of one scan? Pass --field-strength in tesla"
        )
    value = given if given is not None else next(iter(stated), None)
    if value is None:
        frequency = parts[0].sidecars[0].number("ImagingFrequency")
        if frequency is None:
            raise InputError(
                f"{path}: no MagneticFieldStrength in a JSON sidecar beside it; pass --field-strength "
                "in tesla"
            )
        value = frequency / GYROMAGNETIC_RATIO
        notes.append(f"field strength {value:.3f} T from ImagingFrequency {frequency:g} MHz")
    if not 0.01 < value < 30:
        raise InputError(f"field strength {value:g}: tesla are needed; pass --field-strength")
    return float(value)
