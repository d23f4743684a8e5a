"""Zero-padding to sizes that fast Fourier transforms like, and its adjoint, cropping."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

Shape = tuple[int, int, int]

SPACE = "space"
"""Axis of a mesh of devices that share each volume, in slabs of its first axis."""

SCANS = "scans"
"""Axis of a mesh over which scans are spread, each for itself."""


EVENLY = 8
"""Devices that every grid can be split over."""


def devices_of_space() -> int:
    """Count the devices that share each volume: those of the mesh that ``jax.set_mesh`` has set, or 1."""
    return jax.sharding.get_abstract_mesh().shape.get(SPACE, 1)


def fast_length(length: int) -> int:
    """Find the smallest multiple of 8 ≥ ``length`` with no prime factor above 7.

    A multiple of 8, so that the grid, and with it the answer, is the same when 2, 4 or 8 devices share it;
    even in any case, because the real-to-complex transform halves the last axis and an even length keeps a
    dipole kernel's Nyquist plane well defined. Under a mesh of other devices also a multiple of their number.
    """
    step = math.lcm(EVENLY, devices_of_space())
    candidate = max(-(-length // step), 1) * step
    while True:
        rest = candidate // step
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return candidate
        candidate += step


def fast_shape(shape: Sequence[int], margin: int | Sequence[int] = 0) -> Shape:
    """Find the smallest FFT-friendly shape with ``shape`` and ``margin`` more voxels an axis."""
    margins = (margin,) * 3 if isinstance(margin, int) else tuple(margin)
    x, y, z = (fast_length(n + m) for n, m in zip(shape, margins, strict=True))
    return x, y, z


def pad(array: Shaped[Array, "*batch x y z"], shape: Sequence[int]) -> Shaped[Array, "*batch X Y Z"]:
    """Append zeros at the far end of the last three axes up to ``shape``.

    The adjoint is :func:`crop` to the old shape. In a periodic transform it does not matter at
    which end zeros stand, and one-sided padding needs no offset to undo.
    """
    widths = [(0, 0)] * (array.ndim - 3)
    widths += [(0, new - old) for new, old in zip(shape, array.shape[-3:], strict=True)]
    return jnp.pad(array, widths)


def crop(array: Shaped[Array, "*batch X Y Z"], shape: Sequence[int]) -> Shaped[Array, "*batch x y z"]:
    """Keep the first ``shape`` voxels of the last three axes: undoes and is adjoint to :func:`pad`."""
    x, y, z = shape
    return array[..., :x, :y, :z]
