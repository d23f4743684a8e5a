"""Work only where the mask is: cut volumes to it, and put results back."""

from __future__ import annotations

import numpy as np

BORDER = 2
"""Voxels kept around the mask."""
MULTIPLE = 8
"""Volumes are cut to multiples of this, so that scans of similar heads share compiled code."""

Box = tuple[slice, slice, slice]


def box_around(mask: np.ndarray) -> Box:
    """Find the box around a mask, in whole multiples; it may reach beyond the array."""
    x, y, z = (_range(np.any(mask, axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return x, y, z


def cut(array: np.ndarray, box: Box) -> np.ndarray:
    """Cut the box out of an array ``(x, y, z, …)``; zeros where it reaches beyond."""
    result = np.zeros([*(b.stop - b.start for b in box), *array.shape[3:]], array.dtype)
    source, target = _overlap(box, array.shape)
    result[target] = array[source]
    return result


def put_back(part: np.ndarray, box: Box, shape: tuple[int, ...]) -> np.ndarray:
    """Put ``part`` back into an array of ``shape`` with zeros elsewhere."""
    array = np.zeros(shape, part.dtype)
    source, target = _overlap(box, shape)
    array[source] = part[target]
    return array


def _range(used: np.ndarray) -> slice:
    indices = np.flatnonzero(used)
    first, last = int(indices[0]), int(indices[-1])
    length = last - first + 1 + 2 * BORDER
    length += -length % MULTIPLE
    start = (first + last + 1 - length) // 2
    return slice(start, start + length)


def _overlap(box: Box, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    source = tuple(slice(max(b.start, 0), min(b.stop, n)) for b, n in zip(box, shape, strict=False))
    target = tuple(slice(s.start - b.start, s.stop - b.start) for s, b in zip(source, box, strict=True))
    return source, target
