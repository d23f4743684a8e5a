"""Bodies whose field is known in closed form: the sphere and the infinite cylinder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm.geometry import Geometry


def sphere(
    shape: Sequence[int],
    geometry: Geometry,
    *,
    radius: float,
    chi: float = 1.0,
    supersampling: int = 4,
) -> Float[Array, "x y z"]:
    """Make a sphere in the middle of the array, with partial volumes at its surface.

    Args:
        shape: array shape.
        geometry: voxel size (mm).
        radius: mm.
        chi: susceptibility in ppm; outside is 0.
        supersampling: points per voxel and axis that estimate the part inside.

    Returns:
        χ in ppm.
    """

    def inside(x: Array, y: Array, z: Array) -> Array:
        return x**2 + y**2 + z**2 <= radius**2

    return chi * _filled_fraction(shape, geometry, inside, supersampling)


def sphere_field(
    shape: Sequence[int], geometry: Geometry, *, radius: float, chi: float = 1.0
) -> Float[Array, "x y z"]:
    """Compute the Lorentz-corrected field of :func:`sphere`: zero inside, a dipole outside.

    B = χ/3 (a/r)³ (3 cos²θ − 1). Jackson, Classical Electrodynamics, 3rd ed., §5.11.
    """
    x, y, z = _coordinates(shape, geometry)
    b = geometry.unit_b0_dir
    squared = jnp.maximum(x**2 + y**2 + z**2, 1e-12)
    cosine_squared = (b[0] * x + b[1] * y + b[2] * z) ** 2 / squared
    outside = chi / 3 * radius**3 / squared**1.5 * (3 * cosine_squared - 1)
    return jnp.where(squared > radius**2, outside, 0)


def cylinder(
    shape: Sequence[int],
    geometry: Geometry,
    *,
    axis: Sequence[float],
    radius: float,
    chi: float = 1.0,
    supersampling: int = 4,
) -> Float[Array, "x y z"]:
    """Make a cylinder through the middle along ``axis`` (any length, in mm), across the whole array."""
    unit = jnp.asarray(axis, float) / jnp.linalg.norm(jnp.asarray(axis, float))

    def inside(x: Array, y: Array, z: Array) -> Array:
        along = unit[0] * x + unit[1] * y + unit[2] * z
        return x**2 + y**2 + z**2 - along**2 <= radius**2

    return chi * _filled_fraction(shape, geometry, inside, supersampling)


def cylinder_field(
    shape: Sequence[int],
    geometry: Geometry,
    *,
    axis: Sequence[float],
    radius: float,
    chi: float = 1.0,
) -> Float[Array, "x y z"]:
    """Compute the Lorentz-corrected field of an infinite cylinder at angle θ to the main field.

    Inside χ/6 (3 cos²θ − 1); outside χ/2 (a/ρ)² sin²θ cos 2φ, φ from the field's projection.
    Haacke, Brown, Thompson & Venkatesan 1999, Magnetic Resonance Imaging, ch. 25.
    """
    x, y, z = _coordinates(shape, geometry)
    unit = jnp.asarray(axis, float) / jnp.linalg.norm(jnp.asarray(axis, float))
    b = geometry.unit_b0_dir
    cosine = jnp.dot(b, unit)
    across = b - cosine * unit  # length sin θ
    along = unit[0] * x + unit[1] * y + unit[2] * z
    squared = jnp.maximum(x**2 + y**2 + z**2 - along**2, 1e-12)
    towards = across[0] * x + across[1] * y + across[2] * z  # ρ sin θ cos φ
    sine_squared = 1 - cosine**2
    outside = chi / 2 * radius**2 / squared * (2 * towards**2 / squared - sine_squared)
    return jnp.where(squared > radius**2, outside, chi / 6 * (3 * cosine**2 - 1))


def _coordinates(shape: Sequence[int], geometry: Geometry) -> list[Array]:
    """Millimetres from the middle voxel (n // 2 an axis), broadcastable."""
    return [
        ((jnp.arange(n) - n // 2) * size).reshape([-1 if i == axis else 1 for i in range(3)])
        for axis, (n, size) in enumerate(zip(shape, geometry.voxel_size, strict=True))
    ]


def _filled_fraction(
    shape: Sequence[int],
    geometry: Geometry,
    inside: Callable[[Array, Array, Array], Array],
    supersampling: int,
) -> Array:
    x, y, z = _coordinates(shape, geometry)
    dx, dy, dz = geometry.voxel_size
    steps = [(i + 0.5) / supersampling - 0.5 for i in range(supersampling)]
    count = jnp.zeros(tuple(shape))
    for i in steps:
        for j in steps:
            for k in steps:
                count = count + inside(x + i * dx, y + j * dy, z + k * dz)
    return count / supersampling**3
