"""The magnetic field of a susceptibility distribution, by convolution with the unit dipole.

All kernels are Lorentz-corrected (the sphere of Lorentz is subtracted, as protons feel it) and
hold for any voxel size and any field direction. All are even, so the convolution is self-adjoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import irfftn, rfftn
from jaxqsm.operators.frequencies import frequencies, odd_frequencies
from jaxqsm.operators.padding import fast_shape

Kernel = Literal["kspace", "greens", "integrated", "bandlimited"]
Boundary = Literal["free", "periodic"]

NEAR_ZONE = 4
"""Voxels around the source in which the integrated kernel uses the closed form of a cuboid.

Beyond it, the closed form is a difference of eight nearly equal numbers, which float32 cannot
hold, while two-point Gauss-Legendre quadrature is already exact to 1e-5 of the value.
"""


LOWEST = 0.06
"""Cycles a voxel below which the band-limited kernel is the integrated one: there they agree to 1 %."""


def dipole_kernel(
    shape: Sequence[int], geometry: Geometry, *, kernel: Kernel = "kspace"
) -> Float[Array, "x y h"]:
    """Compute the unit dipole response on the half spectrum of a periodic grid.

    - ``"kspace"``: the continuous transform 1/3 − (k·b)²/|k|², sampled. Zero at k = 0. Cross terms
      are zero on Nyquist planes, where +k and −k are one sample, so that the kernel stays even.
    - ``"greens"``: FFT of the point-dipole Green's function (3 cos²θ − 1) / (4π r³) · voxel volume.
      The value at the origin is the one that makes a uniform ball field-free inside (Lorentz): 0
      for cubic voxels, and the missing lattice sum for others.
    - ``"integrated"``: FFT of the field, at voxel centres, of a uniformly magnetised cuboid of the
      voxel's size. The exact field of a piecewise constant χ at points: the reference for sources at some
      distance. Sampling at points folds frequencies above Nyquist back, most for oblique fields.
    - ``"bandlimited"``: ``"kspace"``, but ``"integrated"`` at the lowest frequencies, where the images of
      a periodic grid are. The field in free space of a χ, and as a scanner measures it, without
      frequencies above Nyquist: the reference for χ within the image.

    Args:
        shape: shape ``(x, y, z)`` of the periodic grid. For free space, pass twice the image.
        geometry: voxel size and field direction; both differentiable.
        kernel: which of the four; default ``"kspace"``, which every inversion uses.

    Returns:
        Real array ``(x, y, z // 2 + 1)``, dimensionless (ppm field per ppm χ).

    References:
        Salomir, de Senneville & Moonen 2003, Concepts Magn Reson B 19:26, doi:10.1002/cmr.b.10083;
        Marques & Bowtell 2005, Concepts Magn Reson B 25:65, doi:10.1002/cmr.b.20034 (k-space).
        Jenkinson, Wilson & Jezzard 2004, MRM 52:471, doi:10.1002/mrm.20194 (voxel basis).
    """
    if kernel == "kspace":
        return _kspace_kernel(shape, geometry)
    if kernel == "greens":
        response = _point_dipole(_offsets(shape, geometry), geometry)
        response = response.at[0, 0, 0].set(_lattice_self_field(geometry))
    elif kernel in ("integrated", "bandlimited"):
        response = _cuboid_response(shape, geometry)
    else:
        raise ValueError(f"kernel is {kernel!r}; use 'kspace', 'greens', 'integrated' or 'bandlimited'")
    transformed = rfftn(response).real
    if kernel == "bandlimited":
        k = frequencies(shape, geometry)
        voxels = sum((k[i] * geometry.voxel_size[i]) ** 2 for i in range(3))
        lowest = jnp.exp(-voxels / LOWEST**2)
        return lowest * transformed + (1 - lowest) * _kspace_kernel(shape, geometry)
    return transformed


def dipole_convolve(
    chi: Float[Array, "x y z"], response: Float[Array, "X Y H"], shape: Sequence[int]
) -> Float[Array, "x y z"]:
    """Convolve with a kernel from :func:`dipole_kernel`, zero-padding χ to the kernel's ``shape``.

    For loops that reuse one kernel: two real FFTs a call.
    """
    spectrum = rfftn(chi, shape) * response
    return irfftn(spectrum, shape, chi.shape)


def dipole_field(
    chi: Float[Array, "x y z"],
    geometry: Geometry,
    *,
    kernel: Kernel = "kspace",
    boundary: Boundary = "free",
) -> Float[Array, "x y z"]:
    """Compute the field perturbation of a susceptibility map, relative to the main field.

    Linear in ``chi``, self-adjoint, differentiable in ``chi``, voxel size and field direction.

    Args:
        chi: susceptibility in ppm, shape ``(x, y, z)``; what surrounds the array counts as 0.
        geometry: voxel size (mm) and field direction.
        kernel: see :func:`dipole_kernel`. With ``"greens"``, ``"integrated"`` and ``"bandlimited"`` the
            field is that in free space (no images); with ``"kspace"`` sources repeat one padded grid away.
        boundary: ``"free"`` (default) pads to at least twice the size; ``"periodic"`` repeats χ.

    Returns:
        Field in ppm of the main field, shape ``(x, y, z)``. Three real FFTs, or two when
        ``kernel="kspace"``.

    Example:
        >>> chi = jnp.zeros((32, 32, 32)).at[14:19, 14:19, 14:19].set(1.0)
        >>> field = dipole_field(chi, Geometry())
        >>> bool(field[16, 16, 24] > 0 > field[24, 16, 16])
        True
    """
    if boundary == "free":
        shape: Sequence[int] = fast_shape(chi.shape, chi.shape)
    elif boundary == "periodic":
        shape = chi.shape
    else:
        raise ValueError(f"boundary is {boundary!r}; use 'free' or 'periodic'")
    return dipole_convolve(chi, dipole_kernel(shape, geometry, kernel=kernel), shape)


def magnetisation_field(magnetisation: Float[Array, "3 x y z"], geometry: Geometry) -> Float[Array, "x y z"]:
    """Compute the field of a magnetisation of any direction, as of anisotropic susceptibility.

    b·M/3 − (k·b)(k·M)/|k|² in k-space, b the field direction; with M = χ b it is :func:`dipole_field`
    with the k-space kernel.

    Args:
        magnetisation: susceptibility tensor times unit field direction, ppm, ``(3, x, y, z)``; what
            surrounds the array counts as 0.
        geometry: voxel size and field direction.

    Returns:
        Field in ppm of the main field. Linear and differentiable; four real FFTs.

    References:
        Liu 2010, MRM 63:1471, doi:10.1002/mrm.22482 (susceptibility tensor imaging).
    """
    shape = fast_shape(magnetisation.shape[1:], magnetisation.shape[1:])
    k = frequencies(shape, geometry)
    b = geometry.unit_b0_dir
    squared = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    safe = jnp.where(squared > 0, squared, 1)
    odd = odd_frequencies(shape, geometry)
    spectrum = jnp.zeros(())
    for i in range(3):
        across = sum(b[j] * (k[i] ** 2 if i == j else odd[i] * odd[j]) for j in range(3))
        response = jnp.where(squared > 0, b[i] / 3 - across / safe, 0)
        spectrum = spectrum + response * rfftn(magnetisation[i], shape)
    return irfftn(spectrum, shape, magnetisation.shape[1:])


def dipole_adjoint(
    field: Float[Array, "x y z"],
    geometry: Geometry,
    *,
    kernel: Kernel = "kspace",
    boundary: Boundary = "free",
) -> Float[Array, "x y z"]:
    """Apply the adjoint of :func:`dipole_field`, which is itself because every kernel is even."""
    return dipole_field(field, geometry, kernel=kernel, boundary=boundary)


def _kspace_kernel(shape: Sequence[int], geometry: Geometry) -> Array:
    k = frequencies(shape, geometry)
    b = geometry.unit_b0_dir
    squared = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    along = sum(b[i] ** 2 * k[i] ** 2 for i in range(3))
    odd = odd_frequencies(shape, geometry)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        along = along + 2 * b[i] * b[j] * odd[i] * odd[j]
    safe = jnp.where(squared > 0, squared, 1)
    return jnp.where(squared > 0, 1 / 3 - along / safe, 0)


def _offsets(shape: Sequence[int], geometry: Geometry) -> list[Array]:
    """Signed distances in mm from voxel (0, 0, 0) on the periodic grid, one array an axis."""
    offsets = []
    for axis, (n, size) in enumerate(zip(shape, geometry.voxel_size, strict=True)):
        steps = jnp.fft.fftfreq(n, 1 / n) * size
        offsets.append(steps.reshape([-1 if i == axis else 1 for i in range(3)]))
    return offsets


def _point_dipole(r: Sequence[Array], geometry: Geometry) -> Array:
    """Field of a point dipole of one voxel's volume at offset ``r``; 0 at the origin."""
    b = geometry.unit_b0_dir
    squared = r[0] ** 2 + r[1] ** 2 + r[2] ** 2
    outside = squared > 0
    safe = jnp.where(outside, squared, 1)
    along = b[0] * r[0] + b[1] * r[1] + b[2] * r[2]
    response = (3 * along**2 / safe - 1) / (4 * jnp.pi * safe * jnp.sqrt(safe))
    return jnp.where(outside, response, 0) * geometry.voxel_volume


def _cuboid_response(shape: Sequence[int], geometry: Geometry) -> Array:
    """Field of the voxel-sized cuboid at the origin, at every voxel centre of a periodic grid."""
    r = _offsets(shape, geometry)
    size = geometry.voxel_size
    node = 0.5 / jnp.sqrt(3.0)
    far = jnp.zeros(tuple(shape), dtype=size.dtype)
    for signs in product((-1, 1), repeat=3):
        shifted = [r[i] + signs[i] * node * size[i] for i in range(3)]
        far = far + _point_dipole(shifted, geometry) / 8
    # Only the near zone is replaced: a small block of signed offsets, scattered back.
    steps = [_steps(min(NEAR_ZONE, (n - 1) // 2)) for n in shape]
    return far.at[jnp.ix_(*steps)].set(_cuboid_field(_block(steps, geometry), geometry))


def _lattice_self_field(geometry: Geometry) -> Array:
    """Σ over the lattice of (cuboid − point dipole): what point dipoles on a lattice leave out.

    Cuboids tile space, so a uniform ball of them is field-free inside; the same holds for points
    when the origin carries this difference. The summand falls as r⁻⁵, hence the small block.
    """
    block = _block([_steps(NEAR_ZONE + 2)] * 3, geometry)
    return jnp.sum(_cuboid_field(block, geometry) - _point_dipole(block, geometry))


def _steps(reach: int) -> Array:
    return jnp.arange(-reach, reach + 1)


def _block(steps: Sequence[Array], geometry: Geometry) -> list[Array]:
    scaled = [s * d for s, d in zip(steps, geometry.voxel_size, strict=True)]
    return jnp.meshgrid(*scaled, indexing="ij")


def _cuboid_field(r: Sequence[Array], geometry: Geometry) -> Array:
    """Closed form: 1/3 inside (0 outside) minus bᵀNb, with N the point demagnetising tensor.

    N is the sum over the eight corners of arctangents (diagonal) and inverse hyperbolic sines
    (off-diagonal), e.g. Newell, Williams & Dunlop 1993, J Geophys Res 98:9551,
    doi:10.1029/93JB00694.
    """
    b = geometry.unit_b0_dir
    tensor = [[jnp.zeros_like(r[0]) for _ in range(3)] for _ in range(3)]
    for signs in product((-1, 1), repeat=3):
        corner = [r[i] + signs[i] * geometry.voxel_size[i] / 2 for i in range(3)]
        parity = signs[0] * signs[1] * signs[2]
        distance = jnp.sqrt(corner[0] ** 2 + corner[1] ** 2 + corner[2] ** 2)
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            angle = jnp.arctan(corner[j] * corner[k] / (corner[i] * distance))
            tensor[i][i] = tensor[i][i] + parity * angle / (4 * jnp.pi)
            across = jnp.sqrt(corner[i] ** 2 + corner[j] ** 2)
            mixed = -parity * jnp.arcsinh(corner[k] / across) / (4 * jnp.pi)
            tensor[i][j] = tensor[i][j] + mixed
            tensor[j][i] = tensor[j][i] + mixed
    along = sum(b[i] * b[j] * tensor[i][j] for i in range(3) for j in range(3))
    inside = (r[0] == 0) & (r[1] == 0) & (r[2] == 0)
    return jnp.where(inside, 1 / 3, 0) - along
