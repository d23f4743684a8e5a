"""Zero-padding to sizes that fast Fourier transforms like, and its adjoint, cropping."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Shaped

Shape = tuple[int, int, int]


def fast_length(length: int) -> int:
    """Find the smallest even number ≥ ``length`` with no prime factor above 5.

    Even, because the real-to-complex transform halves the last axis and an even length keeps a
    dipole kernel's Nyquist plane well defined.
    """
    candidate = length + length % 2
    while True:
        rest = candidate
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return candidate
        candidate += 2


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
