"""Background removal by a network."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import MaskedVolume, block_interpolate, block_mean, erode, subtract_harmonic_extension
from jaxqsm.pretrained.trained import call, trained_network
from jaxqsm.variational.common import data_weights


def learned_background(
    total_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    erosion: float = 2.0,
    coarse: float = 2.4,
    checkpoint: str = "learned_background",
) -> MaskedVolume:
    """Remove the background with a network that corrects PDF and LBV, up to a harmonic field.

    Use it on oblique scans of 1 mm and coarser.

    A network finds the local field on coarse voxels, where it corrects :func:`~jaxqsm.background.pdf` and
    :func:`~jaxqsm.background.lbv`. Its values on the border of the mask then are the boundary values of the
    Laplacian boundary value method on the voxels of the scan: what is taken off the total field is harmonic,
    whatever the network says.

    Trained on simulated heads, see ``pretrained/weights/learned_background.md``.

    Args:
        total_field: ppm, shape ``(x, y, z)``.
        mask: where the total field is valid.
        geometry: voxel size and field direction. The voxel size must be known when traced.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        erosion: mm taken off the mask first. Default 2: on its border lie the veins of the dura, whose field
            then is background.
        coarse: mm; blocks of voxels are made of about this size for the network. Default 2.4, the middle of
            what it was trained on.
        checkpoint: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote. Default ``"learned_background"``.

    Returns:
        Local field in ppm, zero outside, and the eroded mask without its outermost layer. Differentiable.

    Raises:
        ValueError: there are no such weights, or they are of another task than background removal; the voxel
            size is traced.

    References:
        Bollmann et al. 2019, Z Med Phys 29:139, doi:10.1016/j.zemedi.2019.01.001 (SHARQnet);
        Zhou, Liu, Spincemaille & Wang 2014, NMR Biomed 27:312, doi:10.1002/nbm.3064 (boundary values);
        :class:`jaxqsm.networks.ours.harmonic_correction.HarmonicCorrection`.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> local, valid = learned_background(jnp.zeros(mask.shape), mask, Geometry())
        >>> local.shape, valid.shape
        ((16, 16, 16), (16, 16, 16))
    """
    graph, parameters = trained_network(checkpoint, "background")
    if isinstance(geometry.voxel_size, jax.core.Tracer):
        raise ValueError(
            "learned_background needs a voxel size that is known when it is compiled, as its blocks are whole"
            " voxels; close over the geometry in place of passing it through jit"
        )
    size = np.asarray(geometry.voxel_size)
    factors = [max(1, round(coarse / length)) for length in size.tolist()]
    blocks = Geometry(jnp.asarray(size * factors), geometry.b0_dir)
    mask = erode(jnp.asarray(mask), erosion, geometry)
    inside = mask.astype(total_field.dtype)
    sure = data_weights(mask, weights, magnitude)
    field, _ = block_mean(total_field, jnp.maximum(sure, 1e-6 * inside), factors)
    amplitude, filled = block_mean(sure, inside, factors)
    known = filled >= 0.5
    local = call(graph, "__call__", parameters, field * known, known, blocks, amplitude * known)
    x, y, z = total_field.shape
    smooth = block_interpolate(local, known.astype(local.dtype), factors, (x, y, z)) * inside
    rest, valid = subtract_harmonic_extension(total_field - smooth, mask, geometry)
    return MaskedVolume((smooth + rest) * valid, valid)
