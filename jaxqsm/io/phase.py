"""Stored phase to radians: scanners write it in many scales."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxqsm.io.errors import InputError

ROUNDING = 0.003
"""Parts by which a stored limit may miss the exact one: a phase of noise or wraps comes that near."""

ANGLES = {"radians": np.pi, "milliradians": 1000 * np.pi, "degrees": 180.0}
"""Half a turn in units that phase is stored in."""

BITS = (8, 10, 11, 12, 13, 14, 15, 16)
"""Bits of the power-of-two scales that whole numbers are stored in."""

JUMP = 0.8
"""Part of 2π beyond which neighbours are on two sides of a wrap."""

FEWEST_JUMPS = 1e-4
"""Share of neighbours on two sides of a wrap, at which a range is that of a turn. A range that is one by
chance, or that of a magnitude, has hardly any."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """Scale of stored phase: the values of zero and of 2π.

    Attributes:
        zero: stored value of phase 0.
        turn: stored values that make a turn.
        unscaled: whether the values are those without the header's slope.
        said: a sentence on what was recognised, without the range.
    """

    zero: float
    turn: float
    unscaled: bool
    said: str


def to_radians(
    stored: np.ndarray,
    *,
    unscaled: np.ndarray | None = None,
    units: str | None = None,
    phase_range: tuple[float, float] | None = None,
    name: str = "phase",
) -> tuple[np.ndarray, str]:
    """Scale stored phase so that one turn is 2π.

    Args:
        stored: as stored, any shape, finite.
        unscaled: the same without the slope of the file's header, where there is one.
        units: ``Units`` of the JSON sidecar, if any; radians and degrees are taken when values allow it.
        phase_range: the stored values of −π and π; overrides all recognition.
        name: file for messages.

    Returns:
        Phase in rad in [−π, π], float32, and a sentence on what was recognised.

    Raises:
        InputError: constant phase, or values that allow no conclusion.
    """
    scale = recognise(stored, unscaled=unscaled, units=units, phase_range=phase_range, name=name)
    return scaled_by(scale, stored, unscaled)


def scaled_by(scale: Scale, stored: np.ndarray, unscaled: np.ndarray | None) -> tuple[np.ndarray, str]:
    """Convert phase to rad by a known scale; returns the sentence on it too."""
    values = unscaled if scale.unscaled and unscaled is not None else stored
    span = f"stored range {_span(stored)}"
    return _wrapped(
        (values.astype(np.float64) - scale.zero) * (2 * np.pi / scale.turn)
    ), f"{scale.said} ({span})"


def recognise(
    stored: np.ndarray,
    *,
    unscaled: np.ndarray | None = None,
    units: str | None = None,
    phase_range: tuple[float, float] | None = None,
    name: str = "phase",
) -> Scale:
    """Recognise the scale of stored phase; arguments and errors as :func:`to_radians`."""
    low, high = float(stored.min()), float(stored.max())
    if not high > low:
        raise InputError(f"{name}: the phase is constant ({low:g}); is this the magnitude file?")
    if phase_range is not None:
        first, last = phase_range
        if not last > first:
            raise InputError(f"--phase-range {first:g} {last:g}: the second must be larger")
        said = f"phase rescaled: {first:g} … {last:g} to −π … π as given by --phase-range"
        return Scale((first + last) / 2, last - first, False, said)
    largest = max(abs(low), abs(high))
    declared = _declared(units)
    if declared is not None and largest < 100 * ANGLES[declared]:
        turns = "" if largest <= ANGLES[declared] * (1 + ROUNDING) else ", wrapped to −π … π"
        return Scale(0.0, 2 * ANGLES[declared], False, f"phase is in {declared}, says its sidecar{turns}")
    candidates = [(stored, False)] + ([] if unscaled is None else [(unscaled, True)])
    for find in (_angle, _power_of_two):
        for values, bare in candidates:
            found = find(values, bare)
            if found is not None:
                return found
    if _fills(stored, largest) and abs(low + high) <= ROUNDING * (high - low):
        said = f"phase rescaled: ±{largest:.6g} to ±π, as neighbours jump from end to end"
        return Scale(0.0, 2 * largest, False, said)
    raise InputError(
        f"{name}: cannot tell the scale of the phase (stored range "
        f"{_span(stored)}{_hint(stored, low, largest)}); pass --phase-range LOW HIGH with the stored values "
        "of −π and π, or write Units rad into its JSON sidecar"
    )


def jumps(values: np.ndarray, turn: float) -> float:
    """Count the share of neighbours that differ by nearly a ``turn``: two sides of a wrap, 0 to 1."""
    count = total = 0
    for axis in range(min(values.ndim, 3)):
        if values.shape[axis] < 2:
            continue
        steps = np.abs(np.diff(values.astype(np.float32, copy=False), axis=axis))
        count += int((steps > JUMP * turn).sum())
        total += steps.size
    return count / max(total, 1)


def _angle(values: np.ndarray, unscaled: bool) -> Scale | None:
    low, high = float(values.min()), float(values.max())
    largest = max(abs(low), abs(high))
    for unit, half in ANGLES.items():
        near = ROUNDING * half
        whole = unit != "radians"  # other units are surer when both ends are there
        if abs(largest - half) < near and (not whole or abs(low + high) < near) and low < 0:
            if unit == "degrees" and not _fills(values, half):
                continue
            return Scale(0.0, 2 * half, unscaled, f"phase is in {unit}")
        if low >= -near and low < near and abs(high - 2 * half) < 2 * near and _fills(values, half):
            return Scale(0.0, 2 * half, unscaled, f"phase is in {unit}, 0 … one turn, wrapped to −π … π")
    if largest <= np.pi * (1 + ROUNDING) and jumps(values, 2 * np.pi) > FEWEST_JUMPS:
        return Scale(0.0, 2 * np.pi, unscaled, "phase is in radians")
    if low >= 0 and abs(high - np.pi) < ROUNDING and not np.array_equal(values, np.rint(values)):
        return Scale(0.0, 2 * np.pi, unscaled, "phase is in radians")
    return None


def _power_of_two(values: np.ndarray, unscaled: bool) -> Scale | None:
    """The scale of whole numbers that use nine tenths of it at least, and jump from end to end."""
    if not np.array_equal(values, np.rint(values)):
        return None
    low, high = float(values.min()), float(values.max())
    for bits in BITS:
        turn = 2.0**bits
        for first in (0.0, -turn / 2):
            used = high - low > 0.9 * (turn - 1)
            if first <= low and high <= first + turn and used and jumps(values, turn) > FEWEST_JUMPS:
                said = f"phase rescaled: {first:g} … {first + turn - 1:g} to −π … π"
                return Scale(first + turn / 2, turn, unscaled, said)
    return None


def _fills(values: np.ndarray, half: float) -> bool:
    return jumps(values, 2 * half) > FEWEST_JUMPS


def _declared(units: str | None) -> str | None:
    names = {
        "rad": "radians",
        "radian": "radians",
        "radians": "radians",
        "deg": "degrees",
        "degree": "degrees",
    }
    return (names | {"degrees": "degrees", "mrad": "milliradians"}).get((units or "").strip().lower())


def _hint(stored: np.ndarray, low: float, largest: float) -> str:
    if low >= 0 and jumps(stored, float(np.ptp(stored))) <= FEWEST_JUMPS:
        return "; nothing is negative and no neighbours jump by a turn: is this the magnitude file?"
    if largest < np.pi:
        return "; values within ±π may be radians already, then pass --phase-range -3.14159265 3.14159265"
    return ""


def _span(stored: np.ndarray) -> str:
    return f"{float(stored.min()):.6g} … {float(stored.max()):.6g}"


def _wrapped(phase: np.ndarray) -> np.ndarray:
    return (phase - 2 * np.pi * np.rint(phase / (2 * np.pi))).astype(np.float32)
