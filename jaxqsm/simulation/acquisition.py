"""Scanner effects: shim, coil phase, readout polarity, finite k-space."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Inexact, PRNGKeyArray

SHIM_SCALE = 100.0
"""mm that coordinates are divided by, so that all shim terms are of order one in a head."""


def harmonics(axes: Sequence[Float[Array, n]], *, order: int = 2) -> list[Float[Array, "x y z"]]:
    """Evaluate solid harmonics up to ``order`` (0 to 2) on a grid with coordinates in mm along its axes:
    the fields that shim coils make. 1, 4 or 9 of them, broadcastable to the grid."""
    x, y, z = (
        (axes[i] / SHIM_SCALE).reshape([-1 if i == axis else 1 for axis in range(3)]) for i in range(3)
    )
    terms = [jnp.ones((1, 1, 1)), x, y, z, x * y, y * z, x * z, x**2 - y**2, 2 * z**2 - x**2 - y**2]
    return terms[: (order + 1) ** 2]


def shim(
    field: Float[Array, "x y z"],
    weights: Float[Array, "x y z"],
    axes: Sequence[Float[Array, n]],
    *,
    order: int = 2,
) -> Float[Array, term]:
    """Fit coefficients of :func:`harmonics` to ``field`` where ``weights`` are, as a
    scanner's shim takes away. In ppm."""
    basis = [jnp.broadcast_to(b, field.shape) for b in harmonics(axes, order=order)]
    normal = jnp.array([[jnp.sum(a * b * weights) for b in basis] for a in basis])
    right = jnp.array([jnp.sum(a * field * weights) for a in basis])
    return jnp.linalg.solve(normal, right)


def combine(coefficients: Float[Array, term], axes: Sequence[Float[Array, n]]) -> Float[Array, "x y z"]:
    """Sum of harmonics with the given coefficients, on the grid."""
    order = round(len(coefficients) ** 0.5) - 1
    terms = harmonics(axes, order=order)
    total = sum(c * t for c, t in zip(coefficients, terms, strict=True))
    return jnp.broadcast_to(total, tuple(len(a) for a in axes))


def random_coil_phase(
    axes: Sequence[Float[Array, n]], *, key: PRNGKeyArray, strength: ArrayLike = 0.8
) -> Float[Array, "x y z"]:
    """Smooth phase offset in rad of a combined receive coil: a random constant, and random harmonics of
    first and second order whose coefficients lie within ``strength``."""
    draws = jax.random.uniform(key, (9,), minval=-1.0)
    return combine(draws * jnp.full(9, strength).at[0].set(jnp.pi), axes)


def bipolar_phase(
    echoes: int,
    axes: Sequence[Float[Array, n]],
    *,
    constant: ArrayLike = 0.3,
    slope: ArrayLike = 0.5,
    readout: int = 0,
) -> Float[Array, "x y z echo"]:
    """Make a phase in rad that alternates in sign between echoes of opposite readout direction.

    Gradient delays and eddy currents of a bipolar readout: a constant and a slope along the readout.

    Args:
        echoes: number of echoes; even ones (0, 2 …) get the positive sign.
        axes: coordinates in mm.
        constant: rad; default 0.3.
        slope: rad per 100 mm along the readout; default 0.5.
        readout: axis that is read; default 0.
    """
    along = (constant + slope * axes[readout] / SHIM_SCALE).reshape(
        [-1 if readout == axis else 1 for axis in range(3)]
    )
    sign = jnp.where(jnp.arange(echoes) % 2 == 0, 1.0, -1.0)
    return jnp.broadcast_to(along[..., None] * sign, (*[len(a) for a in axes], echoes))


def sampling_matrix(
    length: int,
    ratio: float,
    *,
    partial_fourier: ArrayLike = 1.0,
    resolution: ArrayLike = 1.0,
    count: int | None = None,
) -> Inexact[Array, "out in"]:
    """Make the matrix of finite k-space along one axis: fine samples in, voxels of an image out.

    Only the spatial frequencies that voxels of ``ratio`` samples resolve are kept, and the image is the
    inverse transform of these: a Dirichlet kernel, with the Gibbs ringing of a real scan.

    Args:
        length: number of fine samples; they span the field of view.
        ratio: voxel size over sample size, 1 or more, any fraction.
        partial_fourier: part of k-space that is measured, from 0.5 to 1; the rest, all on one side, is
            zero. Default 1.
        resolution: part of the frequencies that voxels resolve which is measured, on either side; zeros fill
            the rest, as scanners interpolate. Default 1; where both are 1 the matrix is real.
        count: number of voxels out; default all that fit.

    Returns:
        Matrix of shape ``(count, length)`` whose rows sum to 1. Voxel ``j`` is centred on the fine
        coordinate ``(j + 1/2) ratio − 1/2``.

    References:
        McGibney et al. 1993, MRM 30:51, doi:10.1002/mrm.1910300109 (partial Fourier, zero filling).
    """
    count = int(length / ratio + 1e-6) if count is None else count
    kept = min(round(length / ratio), length)
    frequency = jnp.arange(-(kept // 2), kept // 2 + 1)
    # An even number of samples has one at −Nyquist alone; halves at both ends keep the matrix real.
    weight = jnp.where((jnp.abs(frequency) == kept / 2), 0.5, 1.0)
    fine = jnp.arange(length)
    place = (jnp.arange(count) + 0.5) * ratio - 0.5
    whole = all(isinstance(part, int | float) and part >= 1 for part in (partial_fourier, resolution))
    if whole:
        angle = 2 * jnp.pi / length * (place[:, None] - fine)
        # Frequencies in pairs: the kernel is even and real.
        half = frequency[kept // 2 + 1 :]
        pairs = jnp.cos(angle[..., None] * half) * weight[kept // 2 + 1 :]
        return (1 + 2 * pairs.sum(axis=-1)) / length
    first = -(2 * jnp.asarray(partial_fourier) - 1) * kept / 2
    weight = weight * jnp.clip(frequency - first + 1, 0, 1)
    weight = weight * jnp.clip(jnp.asarray(resolution) * kept / 2 - jnp.abs(frequency) + 1, 0, 1)
    out = jnp.exp(2j * jnp.pi / length * place[:, None] * frequency)
    back = jnp.exp(-2j * jnp.pi / length * frequency[:, None] * fine)
    return jnp.matmul(out * weight, back, precision="highest") / length


def reduce(
    signal: Inexact[Array, "x y z *echo"], matrices: Sequence[Inexact[Array, "out in"]]
) -> Inexact[Array, "X Y Z *echo"]:
    """Apply one matrix, of :func:`sampling_matrix` or any other, along each of the first three axes."""
    for axis, matrix in enumerate(matrices):
        signal = jnp.moveaxis(jnp.tensordot(matrix, signal, axes=(1, axis), precision="highest"), 0, axis)
    return signal
