"""A box of the scan with regions of its field held out, to judge inversions by their prediction there."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.operators import crop, quantile
from jaxqsm.operators.padding import Shape
from jaxqsm.physics import dipole_field
from jaxqsm.tuning.far_sources import field_of_far_sources
from jaxqsm.variational.common import data_weights
from jaxqsm.variational.problem import inversion_problem, smv_filtered_by_radii

PART = 2
"""One over the length of the box, of each side of the image."""

LEAST = 48
"""Voxels that a side of the box has at least."""

RIM = 6
"""Voxels along the faces of the box whose field is not held out: that of far sources errs most there."""

HELD_OUT = 0.1
"""Part of the voxels whose field an inversion does not see."""

HELD_OUT_SIZE = 2.0
"""Voxels. Errors of measured fields are alike in neighbouring voxels: single voxels would be predicted by an
image that fits the errors of the rest."""

LITTLE = 1e-3
"""Weight of held-out voxels, as a part: none, yet a single step finds their field in SMV kernels around."""

SCORED_RADII = (8.0, 4.0, 2.0)
"""Radii in mm of the SMV kernels that the residual is scored behind."""

WORST = 1e30
"""Misfit of a χ that is not finite."""


class HeldOutScan(NamedTuple):
    """Part of a scan that an inversion is shown, and the part that it is judged by.

    Attributes:
        field: ppm, in the box, zero outside the mask.
        mask: where it is valid.
        geometry: voxel size and field direction.
        weights: confidence in the field, next to none in the held-out regions.
        held_out: those regions.
        confidence: in the field, the held-out regions too.
    """

    field: Float[Array, "x y z"]
    mask: Bool[Array, "x y z"]
    geometry: Geometry
    weights: Float[Array, "x y z"]
    held_out: Bool[Array, "x y z"]
    confidence: Float[Array, "x y z"]

    def misfit(self, chi: Float[Array, "x y z"], valid: Bool[Array, "x y z"]) -> Float[Array, ""]:
        """Sum the squares of the SMV-filtered residual in the held-out regions."""
        residual = (self.field - dipole_field(chi, self.geometry)) * self.mask
        filtered = _smv_filtered(residual, self.mask, self.geometry) * valid
        misfit = jnp.sum((self.confidence * filtered) ** 2 * self.held_out)
        return jnp.where(jnp.isfinite(misfit), misfit, WORST)


def hold_out(
    scan: tuple[Float[Array, "x y z"], Bool[Array, "x y z"], Geometry],
    confidence: Float[Array, "x y z"] | None,
    others: Any,
    *,
    region_size: float,
    total: bool,
    key: PRNGKeyArray,
) -> tuple[HeldOutScan, Any]:
    """Cut a box about the middle of the mask, and draw the regions.

    Args:
        scan: field in ppm, mask and geometry of the whole.
        confidence: in the field, any unit. Default: 1.
        others: any tree of further arrays; the box is cut from those of the scan's shape.
        region_size: standard deviation in voxels of the Gaussian whose smoothed noise shapes the regions.
        total: the field is the total one. From a local field, that of the sources outside the box is taken
            off.
        key: of the draw.

    Returns:
        The box, and the others in it.
    """
    field, mask, geometry = scan
    whole, size = mask.shape, _box_size(mask.shape)
    if size != whole:
        corner = _box_corner(mask, size)
        if not total:
            field = field - field_of_far_sources(field, mask, corner, size, geometry)
        field, mask, confidence, others = jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice(leaf, corner, size) if jnp.shape(leaf) == whole else leaf,
            (field, mask, confidence, others),
        )
    rims = [RIM if box < n else 0 for box, n in zip(size, whole, strict=True)]
    inside = jnp.ones([n - 2 * rim for n, rim in zip(size, rims, strict=True)], bool)
    inner = jnp.pad(inside, [(rim, rim) for rim in rims])
    held_out = _regions(mask & inner, region_size, key)
    sure = data_weights(mask, confidence)
    return HeldOutScan(
        field * mask, mask, geometry, jnp.where(held_out, LITTLE, 1) * sure, held_out, sure
    ), others


def _box_size(shape: tuple[int, ...]) -> Shape:
    x, y, z = (min(n, max(LEAST, -(-n // PART))) for n in shape)
    return x, y, z


def _box_corner(mask: Bool[Array, "x y z"], size: Shape) -> tuple[Array, ...]:
    """First voxel of a box about the centre of the mask."""
    profiles = (mask.sum(tuple(other for other in range(3) if other != axis)) for axis in range(3))
    return tuple(
        jnp.clip(jnp.round(jnp.average(jnp.arange(n), weights=p + 1e-9) - s / 2).astype(int), 0, n - s)
        for n, p, s in zip(mask.shape, profiles, size, strict=True)
    )


def _regions(mask: Bool[Array, "x y z"], size: float, key: PRNGKeyArray) -> Bool[Array, "x y z"]:
    """Draw the regions where smoothed noise is highest, :data:`HELD_OUT` of the mask."""
    frequencies = jnp.meshgrid(*(jnp.fft.fftfreq(n) for n in mask.shape), indexing="ij")
    response = jnp.exp(-2 * (jnp.pi * size) ** 2 * sum(k**2 for k in frequencies))
    smooth = jnp.fft.ifftn(response * jnp.fft.fftn(jax.random.normal(key, mask.shape))).real
    return mask & (smooth > quantile(smooth, mask, 1 - HELD_OUT))


def _smv_filtered(
    field: Float[Array, "x y z"], mask: Bool[Array, "x y z"], geometry: Geometry
) -> Float[Array, "x y z"]:
    """Field filtered by the largest SMV kernel that fits about each voxel; zero where none fits."""
    each = smv_filtered_by_radii(inversion_problem(field, mask, geometry, None), SCORED_RADII)
    return crop(jnp.sum(each.field * (each.weights > 0), axis=0), mask.shape)
