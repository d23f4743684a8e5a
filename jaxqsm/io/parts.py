"""Checks that files are the part of the signal that they are passed as."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxqsm.io.errors import InputError

if TYPE_CHECKING:
    from jaxqsm.io.scan import Series

NEGATIVE = 0.05
"""Share of voxels below zero from which an image is no magnitude; interpolation leaves less."""

RISING = 1.03
"""Factor from one echo to the next by which no magnitude rises over a whole object."""


def require_phase_and_magnitude(parts: Sequence[Series]) -> None:
    """Refuse a magnitude passed as phase, a phase passed as magnitude, and the like.

    Raises:
        InputError: naming the file, and what tells.
    """
    by_option = {part.option: part for part in parts}
    if "--phase" in by_option and "--magnitude" in by_option:
        first, second = (by_option[o].images[0] for o in ("--phase", "--magnitude"))
        if first.data.shape == second.data.shape and np.array_equal(first.data, second.data, equal_nan=True):
            raise InputError(f"{second.path}: --magnitude and --phase are the same image; pass one of each")
    for part in parts:
        expected = part.option.strip("-").removeprefix("the ")
        for image, sidecar in zip(part.images, part.sidecars, strict=True):
            said = sidecar.says_it_is()
            if said is not None and said != expected and expected != "complex":
                raise InputError(
                    f"{image.path}: ImageType of its sidecar says {said}, but it was passed as "
                    f"{part.option}; exchange the files"
                )
            if expected == "magnitude" and image.data.dtype.kind != "c":
                _require_magnitude(image.path, image.data)


def doubts_of_order(magnitude: np.ndarray) -> list[str]:
    """Warn of a signal that rises from echo to echo, as when files are in the wrong order."""
    brightest = magnitude.max(axis=-1)
    bright = magnitude[brightest > 0.3 * np.percentile(brightest, 99)]
    if not len(bright):
        return []
    means = bright.mean(axis=0)
    for echo in range(1, len(means)):
        if means[echo] > RISING * means[echo - 1]:
            rise = 100 * (means[echo] / means[echo - 1] - 1)
            return [
                f"the magnitude rises by {rise:.0f} % from echo {echo} to echo {echo + 1}, where it should "
                "fall: are magnitude files in the same order as phase files, and echo times right?"
            ]
    return []


def _require_magnitude(path: object, data: np.ndarray) -> None:
    below = float(np.mean(data < 0))
    if below > NEGATIVE:
        raise InputError(
            f"{path}: {100 * below:.0f} % of its voxels are negative, so it is no magnitude; is it the phase?"
        )
