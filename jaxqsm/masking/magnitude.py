"""Brain-or-signal mask from a magnitude image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.masking.morphology import depth as depth_of
from jaxqsm.masking.morphology import finished, found, largest, near, refuse_constant, smoothed
from jaxqsm.masking.object_scale import is_cut_out, size_of
from jaxqsm.masking.otsu import otsu
from jaxqsm.operators import block_mean, gaussian_mean, quantile
from jaxqsm.operators.on_host import branch
from jaxqsm.operators.spanning_forest import NONE, along, spanning_forest

ADULT_HEAD = 3.4e6
"""mm³ of signal in a scan of an adult head, to which all lengths here belong."""

COARSE = 110
"""Voxels along an axis, about, with which the shape of the mask is found: 2 mm for a head."""

REACH = 30.0
"""mm, standard deviation of the Gaussian that receive sensitivities are estimated by."""

NEARBY = 0.02
"""Least part of that Gaussian that must hold signal, for a voxel to count as bright."""

REGROWTH = 3.0
"""mm by which the region grows beyond its core's own reach, back into gyri that it had rounded off."""

GAPS = 2.0
"""mm, half the width of gaps that are filled."""

NECK = 0.4
"""Half width of bridges that are cut, relative to the region's own half width."""

SADDLE = 0.12
"""Part of the region's half width by which it must narrow for two parts to count as two."""

LEVELS = 2**20
"""Whole numbers that depths are counted in."""


def magnitude(
    image: Float[Array, "x y z *echo"],
    geometry: Geometry,
    *,
    neck: float | None = None,
    erosion: float | None = None,
) -> Bool[Array, "x y z"]:
    """Segment the largest compact bright region, cut at its narrows and thin bridges.

    Use it by default, for brains and phantoms with a magnitude image.

    In a head the cuts fall into the neck, at its narrowest, and into the skull base, and leave the brain; in
    a phantom or a small crop, which have neither, the whole signal is left. Beyond the array the image is
    taken to continue, so a crop is not eroded where it was cut. All lengths follow the size of the object.

    Args:
        image: magnitude, any unit; echoes are averaged.
        geometry: voxel size (mm).
        neck: largest half width in mm of a bridge that is cut. Default: two fifths of the region's own half
            width.
        erosion: mm taken off the finished mask, never at the array's border. Default: one layer of voxels,
            since those of the border hold part bone or air; 0: none.

    Returns:
        Boolean mask with holes filled; empty under ``jit`` where it would be refused. No gradient passes.

    Raises:
        ValueError: the image is constant, or no signal is found in it.

    References:
        Otsu 1979, IEEE Trans SMC 9:62, doi:10.1109/TSMC.1979.4310076 (threshold).

    Example:
        >>> image = jnp.full((24, 24, 24), 0.01)
        >>> image = image.at[4:20, 4:20, 4:20].set(1 + jnp.arange(16) / 100)
        >>> int(magnitude(image, Geometry(), erosion=0.0).sum()) > 3000
        True
    """
    refuse_constant(image, "magnitude")
    return found(
        _segmented(image, geometry, neck, erosion),
        "no region of signal was found in the magnitude; pass a mask",
    )


def _segmented(image: Array, geometry: Geometry, neck: ArrayLike | None, erosion: ArrayLike | None) -> Array:
    mean = _mean(image)
    scale = size_of(_signal(mean), geometry, volume=ADULT_HEAD)
    # Shape is judged on a coarse grid, brightness on that of the image.
    factors = tuple(max(1, round(n / COARSE)) for n in mean.shape)
    grid = Geometry(geometry.voxel_size * jnp.array(factors), geometry.b0_dir)
    bias, bright = _of_blocks(mean, REACH * scale, grid, factors)
    signal = largest(bright)
    signal = branch(is_cut_out(signal, grid), lambda s: s, lambda s: _basin(s, depth_of(s, grid)), signal)
    far = depth_of(signal, grid)
    radius = NECK * far.max() if neck is None else jnp.minimum(neck, NECK * far.max())
    core = largest(far > radius)
    # The first growth undoes the erosion; the second returns the gyri that it rounded off.
    region = near(near(core, radius, grid) & signal, REGROWTH * scale, grid)
    mask = largest(_bright_within(mean, bias, region, factors))
    return finished(mask, geometry, gaps=GAPS * scale, erosion=erosion)


@jax.jit
def _mean(image: Array) -> Array:
    """Mean of the echoes, its greatest value 1."""
    image = jax.lax.stop_gradient(image.astype(jnp.float32))
    mean = image.mean(axis=-1) if image.ndim == 4 else image
    return mean / jnp.maximum(mean.max(), 1e-30)


@jax.jit
def _signal(image: Array) -> Array:
    everywhere = jnp.ones(image.shape, bool)
    return image > 0.5 * otsu(jnp.minimum(image, quantile(image, everywhere, 0.995)))


@partial(jax.jit, static_argnames="factors")
def _of_blocks(image: Array, reach: Array, grid: Geometry, factors: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean signal within some centimetres of each block of voxels, and which of them are bright.

    Receive sensitivities vary by a factor of several.
    """
    coarse = block_mean(image, jnp.ones_like(image), factors)[0]
    signal = _signal(coarse)
    near = gaussian_mean(signal.astype(coarse.dtype), reach, grid)
    mean = gaussian_mean(jnp.where(signal, coarse, 0), reach, grid)
    # Far from all signal nothing is bright.
    bias = jnp.where(near > NEARBY, mean / jnp.maximum(near, NEARBY), jnp.inf)
    return bias, _bright(coarse, bias)


def _bright(image: Array, bias: Array) -> Array:
    flat = image / bias
    return flat > 0.6 * otsu(jnp.minimum(flat, 2.0))


@partial(jax.jit, static_argnames="factors")
def _bright_within(image: Array, bias: Array, region: Array, factors: tuple[int, ...]) -> Array:
    return _repeated(region, factors, image.shape) & _bright(image, _repeated(bias, factors, image.shape))


@jax.jit
def _basin(signal: Array, far: Array) -> Array:
    """The part about the deepest voxel: of the watershed of depth, with shallow basins filled.

    Parts grow from the deepest voxels outwards and join where they meet, but for those that have become
    deeper than :data:`SADDLE` by then.
    """
    of_one_voxel = Geometry()
    smooth = smoothed(far, 1.0, of_one_voxel) / jnp.maximum(far.max(), 1e-30)
    below = jnp.rint(LEVELS * (1 - jnp.clip(smooth, 0, 1))).astype(jnp.int32)
    edges = [
        jnp.where(signal & along(signal, axis), jnp.maximum(below, along(below, axis)), NONE)
        for axis in range(3)
    ]
    part = spanning_forest(
        jnp.zeros_like(far), jnp.stack(edges), depths=below, ascent=round(SADDLE * LEVELS)
    ).part
    return signal & (part == part.ravel()[jnp.argmax(far)])


def _repeated(coarse: Array, factors: Sequence[int], shape: tuple[int, ...]) -> Array:
    for axis, factor in enumerate(factors):
        coarse = jnp.repeat(coarse, factor, axis=axis)
    return coarse[tuple(slice(n) for n in shape)]
