"""Dipole inversion by a U-Net without physics."""

from __future__ import annotations

from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.pretrained.learned import learned


def qsmnet_plus(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    checkpoint: str = "qsmnet_plus",
) -> Float[Array, "x y z"]:
    """Invert with a U-Net without physics, for axial scans of 1 mm: a baseline (QSMnet+).

    Use it to compare networks without physics, not for maps.

    The architecture of QSMnet at a quarter of its width and three levels deep, trained on simulated heads,
    see ``pretrained/weights/qsmnet_plus.md``. Field direction and voxel size are not used: of other scans
    than axial ones of 1 mm it makes wrong maps. :func:`learned` is the better one for those as well.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: not used, as published.
        checkpoint: name of weights that come with the package, or the path of a file that ``jaxqsm train`` or
            ``jaxqsm convert-weights`` wrote. Default ``"qsmnet_plus"``.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Differentiable.

    Raises:
        ValueError: there are no such weights, or they are of another task than inversion.

    References:
        Yoon et al. 2018, NeuroImage 179:199, doi:10.1016/j.neuroimage.2018.06.030 (QSMnet);
        Jung et al. 2020, NeuroImage 211:116619, doi:10.1016/j.neuroimage.2020.116619 (QSMnet+).

    Example:
        >>> import jax.numpy as jnp
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = qsmnet_plus(jnp.zeros(mask.shape), mask, Geometry())
        >>> chi.shape
        (16, 16, 16)
    """
    return learned(local_field, mask, geometry, checkpoint=checkpoint)
