"""Stored phase to radians: scanners write it in many scales."""

from __future__ import annotations

import numpy as np

from jaxqsm.io.errors import InputError

ROUNDING = 0.01
"""Radians or parts of the range by which a stored limit may miss the exact one."""


def to_radians(
    stored: np.ndarray,
    *,
    units: str | None = None,
    phase_range: tuple[float, float] | None = None,
    name: str = "phase",
) -> tuple[np.ndarray, str]:
    """Scale stored phase so that one turn is 2π.

    Args:
        stored: all echoes as stored, any shape, finite.
        units: ``Units`` of the JSON sidecar, if any; ``"rad"`` is believed when values allow it.
        phase_range: the stored values of −π and π; overrides all recognition.
        name: file for messages.

    Returns:
        Phase in rad in [−π, π], float32, and a sentence on what was recognised.

    Raises:
        InputError: constant phase, or a range that allows no conclusion.
    """
    low, high = float(stored.min()), float(stored.max())
    span = f"stored range {low:.6g} … {high:.6g}"
    if not high > low:
        raise InputError(f"{name}: the phase is constant ({low:g}); is this the magnitude file?")
    if phase_range is not None:
        first, last = phase_range
        if not last > first:
            raise InputError(f"--phase-range {first:g} {last:g}: the second must be larger")
        scale = 2 * np.pi / (last - first)
        return _wrapped((stored - first) * scale - np.pi), (
            f"phase rescaled: {first:g} … {last:g} to −π … π as given by --phase-range ({span})"
        )
    largest = max(abs(low), abs(high))
    declared = (units or "").lower() in ("rad", "radian", "radians")
    if declared and largest < 100 * np.pi:
        turns = "" if largest <= np.pi + ROUNDING else ", wrapped to −π … π"
        return _wrapped(stored), f"phase is in radians, says its sidecar{turns} ({span})"
    if low >= -ROUNDING and abs(high - 2 * np.pi) < ROUNDING:
        return _wrapped(stored), f"phase is in radians, 0 … 2π wrapped to −π … π ({span})"
    if abs(largest - np.pi) < ROUNDING:
        return _wrapped(stored), f"phase is in radians ({span})"
    for first, turn in _integer_scales(stored, low, high):
        scaled = (stored - first) * (2 * np.pi / turn) - np.pi
        return _wrapped(scaled), (f"phase rescaled: {first:g} … {first + turn - 1:g} to −π … π ({span})")
    if abs(low + high) <= ROUNDING * (high - low):
        return _wrapped(stored * (np.pi / largest)), (
            f"phase rescaled: ±{largest:.6g} to ±π ({span}, recognised as symmetric)"
        )
    raise InputError(
        f"{name}: cannot tell the scale of the phase ({span}); pass --phase-range LOW HIGH with "
        "the stored values of −π and π, or write Units rad into its JSON sidecar"
    )


def _integer_scales(stored: np.ndarray, low: float, high: float):
    """(value of −π, values a turn) of the power-of-two scales that whole numbers fit."""
    if not np.array_equal(stored, np.rint(stored)):
        return
    for bits in (10, 12, 13, 14, 16):
        turn = 2**bits
        for first in (0, -turn // 2):
            # At least nine tenths of the scale is in use in any scan that has noise or wraps.
            used = high - low > 0.9 * (turn - 1)
            if first <= low and high <= first + turn and used:
                yield first, turn


def _wrapped(phase: np.ndarray) -> np.ndarray:
    phase = phase.astype(np.float64)
    return (phase - 2 * np.pi * np.rint(phase / (2 * np.pi))).astype(np.float32)
