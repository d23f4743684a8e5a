"""Two stages, with vessels and without, so that vessels do not spoil the tissue about them."""

from __future__ import annotations

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.background import sdf, v_sharp
from jaxqsm.geometry import Geometry
from jaxqsm.inversion.ilsqr import ilsqr
from jaxqsm.masking import vessels as dark_tubes
from jaxqsm.operators import MaskedVolume
from jaxqsm.variational.common import confidence, referenced

BACKGROUNDS = {"v_sharp": v_sharp, "sdf": sdf}
"""Background removal methods by name."""


@partial(jax.jit, static_argnames=("background", "start_iterations", "max_iterations"))
def qsmart(
    total_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    background: Literal["v_sharp", "sdf"] = "v_sharp",
    vessels: float = 0.04,
    start_iterations: int = 15,
    max_iterations: int = 50,
) -> MaskedVolume:
    """Combine χ of tissue from a mask without vessels and χ of vessels from the whole mask (QSMART).

    Use it where large vessels spoil their surroundings.

    Both stages are background removal and :func:`ilsqr`. Between them the offset is that at which their means
    over tissue agree.

    Args:
        total_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; veins are its dark tubes (:func:`jaxqsm.masking.vessels`).
            Without it there is one stage. It weighs the data too where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        background: ``"v_sharp"`` (default, ours)::func:`~jaxqsm.background.v_sharp`, once for both stages;
            ``"sdf"``::func:`~jaxqsm.background.sdf`, as published, whose means leave out the vessels in the
            first stage. It removes slowly varying χ as well, and is less accurate.
        vessels: part of the mask that is taken for vessels. Default 0.04.
        start_iterations, max_iterations: as for :func:`ilsqr`.

    Returns:
        χ in ppm, zero mean in the mask, zero outside, and the mask where it is valid. In simulations whose
        veins follow the dipole model as tissue does, one stage of ``v_sharp`` and ``ilsqr`` is as accurate.

    Raises:
        ValueError: another background removal.

    References:
        Yaghmaie et al. 2021, NeuroImage 231:117701, doi:10.1016/j.neuroimage.2020.117701.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi, valid = qsmart(jnp.zeros(mask.shape), mask, Geometry(), start_iterations=2, max_iterations=2)
        >>> chi.shape, valid.shape
        ((16, 16, 16), (16, 16, 16))
    """
    invert = partial(
        ilsqr,
        weights=confidence(weights, magnitude),
        start_iterations=start_iterations,
        max_iterations=max_iterations,
    )
    if background not in BACKGROUNDS:
        raise ValueError(f"qsmart has no background removal {background!r}; use {' or '.join(BACKGROUNDS)}")
    local_field, valid = BACKGROUNDS[background](total_field, mask, geometry)
    whole = invert(local_field, valid, geometry)
    if magnitude is None:
        return MaskedVolume(whole, valid)
    tubes = dark_tubes(magnitude, mask, geometry, part=vessels)
    tissue = valid & ~tubes
    if background == "sdf":
        local_field, tissue = sdf(total_field, mask, geometry, excluded=tubes)
    without = invert(local_field, tissue, geometry)
    count = jnp.maximum(tissue.sum(), 1)
    offset = jnp.sum(jnp.where(tissue, whole - without, 0)) / count
    return MaskedVolume(referenced(jnp.where(tissue, without, whole - offset), valid), valid)
