"""Voxel grid and acquisition: the two explicit arguments of all physics."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

GYROMAGNETIC_RATIO = 42.577478518
"""Proton gyromagnetic ratio over 2π in MHz/T, which is also Hz per (ppm · T). CODATA 2018."""


def _pytree_of_arrays(cls: type) -> type:
    """Register a frozen dataclass as a pytree whose every field is a leaf.

    Unflattening bypasses ``__init__``: JAX passes placeholders through it that are no arrays.
    """
    names = [field.name for field in dataclasses.fields(cls)]

    def flatten_with_keys(value: object) -> tuple[list[Any], None]:
        children = [(jax.tree_util.GetAttrKey(name), getattr(value, name)) for name in names]
        return children, None

    def unflatten(_: None, leaves: Iterable[Any]) -> object:
        value: object = object.__new__(cls)
        for name, leaf in zip(names, leaves, strict=True):
            object.__setattr__(value, name, leaf)
        return value

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten)
    return cls


@_pytree_of_arrays
@dataclasses.dataclass(frozen=True, eq=False, init=False)
class Geometry:
    """Voxel size and main-field direction of one volume.

    Both are pytree leaves, so they may be traced: ``jax.grad`` with respect to head orientation,
    ``jax.vmap`` over orientations.

    Args:
        voxel_size: edge lengths in mm along the three array axes. Default 1 mm isotropic.
        b0_dir: direction of the main field in *voxel axes* (array axes, not scanner axes).
            Any non-zero length is accepted; physics uses the unit vector. Default ``(0, 0, 1)``.

    Raises:
        ValueError: if either does not have three entries.

    Example:
        >>> geometry = Geometry(voxel_size=(1.0, 1.0, 2.0), b0_dir=(0.0, 0.5, 0.9))
        >>> float(jnp.linalg.norm(geometry.unit_b0_dir))
        1.0
    """

    voxel_size: Float[Array, 3]
    b0_dir: Float[Array, 3]

    def __init__(
        self,
        voxel_size: ArrayLike | Sequence[float] = (1.0, 1.0, 1.0),
        b0_dir: ArrayLike | Sequence[float] = (0.0, 0.0, 1.0),
    ) -> None:
        for name, given in (("voxel_size", voxel_size), ("b0_dir", b0_dir)):
            value = _as_floating(given)
            if value.shape != (3,):
                raise ValueError(f"Geometry.{name} needs three entries, got shape {value.shape}")
            object.__setattr__(self, name, value)

    @property
    def unit_b0_dir(self) -> Float[Array, 3]:
        """``b0_dir`` scaled to length one, so that gradients are tangent to the sphere; each of a batch."""
        return self.b0_dir / jnp.linalg.norm(self.b0_dir, axis=-1, keepdims=True)

    def scaled(self, factor: ArrayLike) -> Geometry:
        """Scale the voxel size: the geometry of an object ``factor`` times as large, on as many voxels.

        Dipole fields do not depend on size, so a method whose lengths are meant for another size of object
        can be called with this geometry instead of other lengths.
        """
        return Geometry(self.voxel_size * factor, self.b0_dir)

    @property
    def voxel_volume(self) -> Float[Array, ""]:
        """Volume of one voxel in mm³; of each of a batch."""
        return jnp.prod(self.voxel_size, axis=-1)


@_pytree_of_arrays
@dataclasses.dataclass(frozen=True, eq=False, init=False)
class Acquisition:
    """Echo times and field strength of one multi-echo gradient-echo scan.

    Args:
        echo_times: echo times in seconds, shape ``(echo,)``.
        field_strength: main field in tesla.

    Raises:
        ValueError: if ``echo_times`` is not one-dimensional.

    Example:
        >>> Acquisition(echo_times=(0.004, 0.008, 0.012), field_strength=7.0).echo_times.shape
        (3,)
    """

    echo_times: Float[Array, echo]
    field_strength: Float[Array, ""]

    def __init__(self, echo_times: ArrayLike | Sequence[float], field_strength: ArrayLike) -> None:
        times = _as_floating(echo_times)
        if times.ndim != 1:
            raise ValueError(f"Acquisition.echo_times needs shape (echo,), got shape {times.shape}")
        object.__setattr__(self, "echo_times", times)
        object.__setattr__(self, "field_strength", _as_floating(field_strength))

    @property
    def hertz_per_ppm(self) -> Float[Array, ""]:
        """Larmor frequency shift in Hz of a field of 1 ppm."""
        return GYROMAGNETIC_RATIO * self.field_strength

    @property
    def phase_per_ppm(self) -> Float[Array, echo]:
        """Phase in rad that a field of 1 ppm accrues until each echo, shape ``(echo,)``."""
        return 2 * jnp.pi * self.hertz_per_ppm * self.echo_times

    @property
    def phase_scale(self) -> Float[Array, ""]:
        """Phase in rad that a field of 1 ppm accrues between the first two echoes, or until the only one.

        A field that is fitted over echoes is known modulo 2π over this: by as much it is off where unwrapping
        went wrong.
        """
        times = self.echo_times
        spacing = jnp.abs(times[1] - times[0]) if times.size > 1 else times[0]
        return 2 * jnp.pi * self.hertz_per_ppm * spacing


def _as_floating(value: ArrayLike | Sequence[float]) -> Array:
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
