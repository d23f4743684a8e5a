"""Phase of one scan from one file or several, each of which may be stored in a scale of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxqsm.io.errors import InputError
from jaxqsm.io.phase import Scale, recognise, scaled_by

if TYPE_CHECKING:
    from jaxqsm.io.scan import Series


def radians_of(
    part: Series, phase_range: tuple[float, float] | None, *, magnitude: Sequence[Series] = ()
) -> tuple[np.ndarray, list[str], list[str]]:
    """Convert the phase of all files to rad ``(x, y, z, echo)``, with notes and doubts.

    Every file's scale is found by itself. One that does not fill its range is taken to have the scale of
    the others, if these agree.

    Args:
        part: the files.
        phase_range: see :func:`~jaxqsm.io.to_radians`.
        magnitude: of the same scan; where its scale is that of a phase, and the phase's is not, both are
            exchanged.

    Raises:
        InputError: a scale that cannot be recognised.
    """
    scales: list[Scale | InputError] = []
    for image, sidecar in zip(part.images, part.sidecars, strict=True):
        try:
            scales.append(
                recognise(
                    image.data,
                    unscaled=_unscaled(image),
                    units=sidecar.text("Units"),
                    phase_range=phase_range,
                    name=str(image.path),
                )
            )
        except InputError as error:
            scales.append(error)
    known = [scale for scale in scales if isinstance(scale, Scale)]
    failed = [scale for scale in scales if isinstance(scale, InputError)]
    apart = {(scale.zero, scale.turn, scale.unscaled) for scale in known}
    if failed:
        if len(apart) != 1:
            if not known and any(_is_phase(other) for other in magnitude):
                raise InputError(
                    f"{part.images[0].path}: has no scale of a phase, but {magnitude[0].images[0].path} "
                    "has: --phase and --magnitude are exchanged"
                )
            raise failed[0]
        scales = [_shared(scale, known[0], image) for scale, image in zip(scales, part.images, strict=True)]
    each, said = [], []
    for image, scale in zip(part.images, scales, strict=True):
        assert isinstance(scale, Scale)
        radians, text = scaled_by(scale, image.data, _unscaled(image))
        each.append(radians if radians.ndim == 4 else radians[..., None])
        said.append(text)
    if len({(s.zero, s.turn) for s in scales if isinstance(s, Scale)}) > 1:
        names = [f"{image.path.name}: {text}" for image, text in zip(part.images, said, strict=True)]
        doubt = "files of phase are stored in different scales, each of which was recognised; check them"
        return np.concatenate(each, axis=-1), names, [doubt]
    return np.concatenate(each, axis=-1), said[:1], []


def _is_phase(part: Series) -> bool:
    image = part.images[0]
    try:
        recognise(image.data, unscaled=_unscaled(image))
    except InputError:
        return False
    return True


def _unscaled(image) -> np.ndarray | None:
    return None if image.unscaled.shape != image.data.shape else np.nan_to_num(image.unscaled)


def _shared(scale: Scale | InputError, other: Scale, image) -> Scale:
    """The scale of the other files for one that has none of its own, if its values fit."""
    if isinstance(scale, Scale):
        return scale
    unscaled = _unscaled(image)
    values = unscaled if other.unscaled and unscaled is not None else image.data
    if np.abs(values - other.zero).max() > 0.51 * other.turn or np.ptp(values) == 0:
        raise scale
    return other
