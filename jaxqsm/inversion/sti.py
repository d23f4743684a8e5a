"""Susceptibility tensor imaging."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import crop, frequencies, irfftn, rfftn
from jaxqsm.variational.common import padded_shape

ENTRIES = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
"""Rows and columns of the six entries of a symmetric tensor, in the order of the result."""


@jax.jit
def sti(
    local_fields: Float[Array, "orientation x y z"],
    mask: Bool[Array, "x y z"],
    geometries: Geometry,
    *,
    weight: float = 1e-3,
) -> Float[Array, "6 x y z"]:
    """Solve for the susceptibility tensor of six or more orientations, frequency by frequency.

    Use it where anisotropy is of interest and six orientations were scanned.

    In k-space the field of an orientation of direction b is b·χb/3 − (k·b)(k·χb)/|k|²: one linear equation
    for the six entries of χ. They are solved by least squares with a small penalty on their size.

    Args:
        local_fields: ppm, registered to one grid, shape ``(orientation, x, y, z)``; six at least.
        mask: where all fields are valid.
        geometries: voxel size and field direction of each, with a leading orientation axis on both leaves.
        weight: of the penalty |χ|². Default 1e-3.

    Returns:
        ppm, shape ``(6, x, y, z)``: xx, xy, xz, yy, yz, zz in voxel axes, zero outside the mask. One FFT an
        orientation and six back. Differentiable.

    Raises:
        ValueError: fewer than six orientations.

    References:
        Liu 2010, MRM 63:1471, doi:10.1002/mrm.22482.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> directions = ((0, 0, 1), (0.7, 0, 0.7), (0, 0.7, 0.7), (-0.7, 0, 0.7), (0, -0.7, 0.7), (1, 1, 0))
        >>> geometries = [Geometry(b0_dir=direction) for direction in directions]
        >>> stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *geometries)
        >>> sti(jnp.zeros((6, 16, 16, 16)), mask, stacked).shape
        (6, 16, 16, 16)
    """
    count = local_fields.shape[0]
    if count < len(ENTRIES):
        raise ValueError(f"sti needs six orientations at least, got {count}")
    shape = padded_shape(mask.shape)
    spectra = jnp.stack([rfftn(field * mask, shape) for field in local_fields])
    k = frequencies(shape, jax.tree.map(lambda leaf: leaf[0], geometries))
    directions = jax.vmap(lambda geometry: geometry.unit_b0_dir)(geometries)

    def plane(arguments: tuple[Array, Array]) -> Array:
        """The six entries where the first frequency is one number."""
        kx, measured = arguments
        vector = jnp.broadcast_arrays(kx, k[1][0], k[2][0])
        squared = vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2
        safe = jnp.where(squared > 0, squared, 1)
        rows = []
        for b in directions:
            along = sum(c * d for c, d in zip(vector, b, strict=True)) / safe
            rows.append(
                jnp.stack(
                    [
                        (1 if i == j else 2) * b[i] * b[j] / 3
                        - along * (vector[i] * b[j] + (vector[j] * b[i] if i != j else 0))
                        for i, j in ENTRIES
                    ],
                    axis=-1,
                )
            )
        system = jnp.where(squared[..., None, None] > 0, jnp.stack(rows, axis=-2), 0)
        right = jnp.einsum("yzof,oyz->yzf", system, measured)
        normal = jnp.einsum("yzof,yzog->yzfg", system, system) + weight * jnp.eye(len(ENTRIES))
        return jnp.linalg.solve(normal.astype(right.dtype), right[..., None])[..., 0]

    found = jax.lax.map(plane, (k[0][:, 0, 0], jnp.moveaxis(spectra, 1, 0)))
    tensor = jnp.stack([irfftn(found[..., f], shape) for f in range(len(ENTRIES))])
    return crop(tensor, mask.shape) * mask
