"""Mask of the brain by a network of others, which is an extra and never required."""

from __future__ import annotations

import importlib.util

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.masking.morphology import found, peeled


def deepbet(
    image: Float[Array, "x y z *echo"],
    geometry: Geometry,
    *,
    affine: Float[np.ndarray, "4 4"] | None = None,
    erosion: float = 0.0,
) -> Bool[Array, "x y z"]:
    """Extract the brain with the network deepbet (extra ``jaxqsm[brain]``, PyTorch).

    Use it where the scan holds much neck or fat, and PyTorch may be installed.

    It was trained on T1-weighted images, and knows heads alone: no phantoms, no crops.

    Args:
        image: magnitude, any unit; of several echoes the first, where least signal is lost.
        geometry: voxel size (mm), for the erosion; the network brings any grid to its own.
        affine: from voxels to the scanner's axes (RAS), which say where the top of the head is. Default: the
            voxel axes are those.
        erosion: mm taken off the finished mask, never at the array's border. Default 0.

    Returns:
        Boolean mask with holes filled.

    Raises:
        ValueError: deepbet is not installed, or it finds no brain.

    References:
        Fisch et al. 2024, Comput Biol Med 179:108845, doi:10.1016/j.compbiomed.2024.108845.
    """
    if importlib.util.find_spec("deepbet") is None:
        raise ValueError("deepbet is not installed: pip install 'jaxqsm[brain]'")
    import nibabel
    from deepbet import BrainExtraction

    first = np.asarray(image if image.ndim == 3 else image[..., 0], np.float32)
    head = nibabel.Nifti1Image(first, np.eye(4) if affine is None else affine)
    try:
        _, brain, _ = BrainExtraction().run(head)
        mask = peeled(jnp.asarray(np.asarray(brain.dataobj) > 0), erosion, geometry)
    except (AssertionError, ValueError):  # an empty box or component
        mask = jnp.zeros(first.shape, bool)
    return found(mask, "deepbet finds no brain in the image; use magnitude, or pass a mask")
