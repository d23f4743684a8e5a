"""Real Fourier transforms of volumes that one device holds, or that a mesh of devices shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Complex, Float

from jaxqsm.operators.padding import SCANS, SPACE, crop, devices_of_space, pad

AXES = (-3, -2, -1)

PARTS = 4
"""Parts of a slab that are transformed one after another: less is in memory at once."""


def rfftn(
    image: Float[Array, "*batch x y z"], shape: Sequence[int] | None = None
) -> Complex[Array, "*batch X Y H"]:
    """Transform the last three axes, after zero-padding to ``shape``, to the half spectrum.

    Under a mesh (:mod:`jaxqsm.distributed`) each device transforms its slab of the first axis along the
    other two, the slabs are exchanged for such of the second axis, and the first is transformed: no device
    ever has the whole volume. Shapes that the number of devices does not divide are gathered instead.

    Args:
        image: real, shape ``(…, x, y, z)``.
        shape: of the periodic grid, at least that of the image. Default: the image's.

    Returns:
        Complex, shape ``(…, X, Y, Z // 2 + 1)``, as :func:`jax.numpy.fft.rfftn`; float32 gives complex64.

    Example:
        >>> rfftn(jnp.ones((4, 4, 4)), (8, 8, 8)).shape
        (8, 8, 5)
    """
    x, y, z = image.shape[-3:] if shape is None else shape
    if not _is_shared(image.shape[-3], y):
        return jnp.fft.rfftn(pad(image, (x, y, z)), axes=AXES)

    def slab(part: Array) -> Array:
        # Zeros are appended where an axis is about to be transformed: they are neither sent nor transformed.
        spectrum = jnp.fft.fft(jnp.fft.rfft(part, z), y, axis=-2)
        whole = _exchanged(spectrum, split=-2, joined=-3)
        return _in_parts(lambda lines: jnp.fft.fft(lines, x, axis=-3), whole)

    return _on_slabs(slab, image, before=-3, after=-2)


def irfftn(
    spectrum: Complex[Array, "*batch X Y H"], shape: Sequence[int], cropped: Sequence[int] | None = None
) -> Float[Array, "*batch x y z"]:
    """Transform a half spectrum back to a volume of ``shape``, and keep its first ``cropped`` voxels.

    Args:
        spectrum: as :func:`rfftn` gives it.
        shape: of the periodic grid ``(X, Y, Z)``.
        cropped: of the image. Default: all of the grid.
    """
    kept = tuple(shape) if cropped is None else tuple(cropped)
    if not _is_shared(kept[0], shape[1]):
        return crop(jnp.fft.irfftn(spectrum, s=tuple(shape), axes=AXES), kept)

    def slab(part: Array) -> Array:
        along = _in_parts(lambda lines: jnp.fft.ifft(lines, axis=-3)[..., : kept[0], :, :], part)
        plane = jnp.fft.ifft(_exchanged(along, split=-3, joined=-2), axis=-2)[..., : kept[1], :]
        return jnp.fft.irfft(plane, shape[2])[..., : kept[2]]

    return _on_slabs(slab, spectrum, before=-2, after=-3)


def _is_shared(in_space: int, in_spectrum: int) -> bool:
    """Check that there is a mesh, and that its devices divide the axes that a volume is split along."""
    devices = devices_of_space()
    return bool(_axes_of_mesh()) and in_space % devices == 0 and in_spectrum % devices == 0


def _axes_of_mesh() -> set[str]:
    """Find the axes of the mesh that volumes or scans are spread over, by more than one device."""
    mesh = jax.sharding.get_abstract_mesh()
    return {name for name in (SPACE, SCANS) if mesh.shape.get(name, 1) > 1}


def _exchanged(part: Array, *, split: int, joined: int) -> Array:
    if SPACE not in _axes_of_mesh():
        return part
    axes = part.ndim + split, part.ndim + joined
    return jax.lax.all_to_all(part, SPACE, *axes, tiled=True)  # type: ignore[no-untyped-call]


def _on_slabs(slab: Callable[[Array], Array], array: Array, *, before: int, after: int) -> Array:
    """Apply ``slab`` to what each device has: of an array split along ``before``, to one along ``after``."""
    names = _axes_of_mesh()

    def along(axis: int) -> PartitionSpec:
        split = [SPACE if i - array.ndim == axis and SPACE in names else None for i in range(array.ndim)]
        return PartitionSpec(*split)  # type: ignore[no-untyped-call]

    # The partitioner of XLA gathers whatever is transformed, a batch of scans too.
    on_each = jax.shard_map(slab, in_specs=along(before), out_specs=along(after), axis_names=names)
    shared: Array = on_each(array)
    return shared


def _in_parts(transform: Callable[[Array], Array], array: Array) -> Array:
    """Transform the first axis of one part after the other: each part is transposed for it and back."""
    return jnp.concatenate([transform(part) for part in jnp.array_split(array, PARTS, axis=-1)], axis=-1)
