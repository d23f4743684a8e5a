"""Faults of registration, slices, masks and brightness in the field, mask and magnitude of a scan."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.phantoms.random_shapes import random_field

SHADING_LENGTH, SURFACE_LENGTH = 30.0, 2.0
"""mm, of the smooth and of the fine variation of brightness."""

INVERSIONS = 8
"""Rounds of y = y' − Δ(y); each shrinks its error by the slope of Δ."""


def registered(
    field: Float[Array, "x y z"], mask: Bool[Array, "x y z"], shift: Float[Array, 3]
) -> Float[Array, "x y z"]:
    """Smooth a field as moving it by a part of a voxel and back does, by linear interpolation.

    Along each axis the weights are f (1 − f), 1 − 2 f (1 − f), f (1 − f): echoes that are brought onto each
    other after motion, or orientations onto one, lose that much detail.

    Args:
        field: ppm.
        mask: where it is valid; the mean is over valid voxels alone.
        shift: f, in voxels along each axis, 0 to 1.

    Returns:
        The field, zero outside the mask.

    Example:
        >>> field, mask = jnp.zeros((8, 8, 8)).at[4, 4, 4].set(1.0), jnp.ones((8, 8, 8), bool)
        >>> float(registered(field, mask, jnp.array([0.5, 0.0, 0.0]))[3, 4, 4])
        0.25
    """
    part = mask.astype(field.dtype)
    blurred, weight = field * part, part
    for axis in range(3):
        neighbour = shift[axis] * (1 - shift[axis])
        kernel = jnp.stack([neighbour, 1 - 2 * neighbour, neighbour])
        blurred, weight = (_along(volume, kernel, axis) for volume in (blurred, weight))
    return jnp.where(mask, blurred / jnp.maximum(weight, 1e-6), 0)


def slice_offsets(
    mask: Bool[Array, "x y z"], *, standard_deviation: ArrayLike, axis: int = 2, key: PRNGKeyArray
) -> Float[Array, "x y z"]:
    """Draw an offset of its own for each slice, as in a two-dimensional readout: drift, breathing, motion.

    Args:
        mask: where the field is valid.
        standard_deviation: ppm.
        axis: across the slices. Default the third.
        key: of the draw.

    Returns:
        Offsets in ppm, zero outside the mask.

    Example:
        >>> mask = jnp.ones((8, 8, 8), bool)
        >>> offsets = slice_offsets(mask, standard_deviation=0.01, key=jax.random.key(0))
        >>> bool(jnp.all(offsets[:, :, 3] == offsets[0, 0, 3]))
        True
    """
    shape = [mask.shape[axis] if i == axis else 1 for i in range(3)]
    return jnp.asarray(standard_deviation) * jax.random.normal(key, shape) * mask


def distorted(
    image: Float[Array, "x y z"], displacement: Float[Array, "x y z"], *, axis: int = 1
) -> Float[Array, "x y z"]:
    """Move an image along the phase encoding, as a slow readout (EPI) does where the field is off.

    The voxel at y' shows what is at y, where y' = y + Δ(y): the turn that the field adds between two lines of
    k-space moves a spin by Δ = field / bandwidth per voxel. Where the field has a gradient the image is
    stretched or squeezed; field, mask, χ and magnitude of a scan are displaced alike.

    Args:
        image: any unit; beyond its ends it goes on as at them.
        displacement: Δ in voxels, at the true place. Its slope along the axis must lie between −1 and 1:
            beyond it, places fold onto each other.
        axis: of the phase encoding. Default the second.

    Returns:
        The image as read out, in linear interpolation, without the change of brightness.

    References:
        Jezzard & Balaban 1995, MRM 34:65, doi:10.1002/mrm.1910340111.

    Example:
        >>> image = jnp.zeros((8, 8, 8)).at[4, 4, 4].set(1.0)
        >>> float(distorted(image, jnp.full((8, 8, 8), 2.0))[4, 6, 4])
        1.0
    """
    places = jnp.meshgrid(*[jnp.arange(n, dtype=image.dtype) for n in image.shape], indexing="ij")

    def at(volume: Array, moved: Array) -> Array:
        there = [places[i] - moved if i == axis else places[i] for i in range(3)]
        return jax.scipy.ndimage.map_coordinates(volume, there, order=1, mode="nearest")

    moved = displacement
    for _ in range(INVERSIONS):
        moved = at(displacement, moved)
    return at(image, moved)


def cut_mask(
    mask: Bool[Array, "x y z"], magnitude: Float[Array, "x y z"], threshold: ArrayLike
) -> Bool[Array, "x y z"]:
    """Remove voxels of little signal from a mask, as those by threshold do: holes at veins, bleeds and air.

    Args:
        mask: of the brain.
        magnitude: of a late echo, any unit.
        threshold: part of the mean magnitude in the mask.

    Returns:
        The mask that is left.

    Example:
        >>> mask, magnitude = jnp.ones((4, 4, 4), bool), jnp.ones((4, 4, 4)).at[0, 0, 0].set(0.1)
        >>> int(cut_mask(mask, magnitude, 0.2).sum())
        63
    """
    mean = jnp.sum(magnitude * mask) / jnp.maximum(mask.sum(), 1)
    return mask & (magnitude >= threshold * mean)


def brightness(
    mask: Bool[Array, "x y z"], geometry: Geometry, *, strength: ArrayLike, key: PRNGKeyArray
) -> Float[Array, "x y z"]:
    """Draw a factor on the magnitude whose edges are not those of χ: coils, proton density, T1.

    exp(s (smooth + fine / 2)), of standard normal random fields of 30 and 2 mm.

    Args:
        mask: of the scan; only its shape counts.
        geometry: voxel size.
        strength: s; 0 for none.
        key: of the draw.

    Returns:
        The factor.

    Example:
        >>> brightness(jnp.ones((8, 8, 8), bool), Geometry(), strength=0.3, key=jax.random.key(0)).shape
        (8, 8, 8)
    """
    of_shading, of_surface = jax.random.split(key)
    smooth, fine = (
        random_field(mask.shape, geometry, standard_deviation=1.0, smoothness=length, key=k)
        for length, k in ((SHADING_LENGTH, of_shading), (SURFACE_LENGTH, of_surface))
    )
    return jnp.exp(strength * (smooth + fine / 2))


def _along(volume: Array, kernel: Float[Array, 3], axis: int) -> Array:
    """Weigh each voxel and its two neighbours along an axis, with nothing beyond the ends."""
    padded = jnp.moveaxis(jnp.pad(volume, [(1, 1) if i == axis else (0, 0) for i in range(3)]), axis, 0)
    return jnp.moveaxis(kernel[0] * padded[:-2] + kernel[1] * padded[1:-1] + kernel[2] * padded[2:], 0, axis)
