"""Learned background removal: a correction of two classical methods."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.background import pdf
from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.block_u_net import CONDITIONING, BlockUNet, conditioning_vector
from jaxqsm.networks.blocks.data_consistency import root_mean_square
from jaxqsm.networks.blocks.layers import (
    depth_to_space,
    pad_to_multiple,
    space_to_depth,
    unpad,
)
from jaxqsm.networks.network import Network
from jaxqsm.operators import subtract_harmonic_extension
from jaxqsm.variational.common import data_weights


@dataclasses.dataclass(frozen=True)
class HarmonicCorrectionConfig:
    """Size of :class:`HarmonicCorrection`.

    Attributes:
        channels: of the U-Net, on blocks of 2 × 2 × 2 voxels; twice as many on blocks of blocks. Default 32.
        slab: voxels along x, a multiple of 4, that the U-Net works on at a time in longer volumes. Default
            128.
    """

    channels: int = 32
    slab: int = 128


class LocalFields(NamedTuple):
    """Local field by two classical methods, on the whole mask: their errors have little in common.

    ``projected`` is of :func:`jaxqsm.background.pdf`, which takes local field near the border for background;
    ``bounded`` is of :func:`jaxqsm.background.lbv`, which takes all field on the border for background.
    """

    projected: Float[Array, "batch x y z"]
    bounded: Float[Array, "batch x y z"]


class HarmonicCorrection(Network):
    """Total to local field: two classical estimates, and a U-Net that corrects them.

    True local field and any estimate of it differ by a harmonic field, as both leave of the total field a
    background without sources in the mask. So the correction is smooth, and voxels of 2 or 3 mm suffice for
    it: :func:`~jaxqsm.pretrained.learned_background` uses this network so. Fields are divided by the root
    mean square of the estimates first.

    Args:
        config: its size.
        rngs: random state.

    References:
        Bollmann et al. 2019, Z Med Phys 29:139, doi:10.1016/j.zemedi.2019.01.001 (SHARQnet, a U-Net for the
        background); Schweser et al. 2017, NMR Biomed 30:e3604, doi:10.1002/nbm.3604 (what is harmonic).
    """

    def __init__(
        self, config: HarmonicCorrectionConfig = HarmonicCorrectionConfig(), *, rngs: nnx.Rngs
    ) -> None:
        self.body = BlockUNet(
            8 * 4, 8, width=config.channels, conditioning=CONDITIONING, slab=config.slab // 2, rngs=rngs
        )

    def __call__(
        self,
        total_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
        start: LocalFields | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Compute the local field in ppm, zero outside the mask."""
        start = self.start(total_field, mask, geometry, weights) if start is None else start
        known = jnp.minimum(jax.vmap(data_weights)(mask, weights), 1)
        middle, doubt = (start.projected + start.bounded) / 2, (start.projected - start.bounded) / 2
        scale = jax.vmap(root_mean_square)(known * middle, mask)[:, None, None, None]
        conditioning = jax.vmap(conditioning_vector)(known * middle, mask, geometry)
        inside = mask.astype(middle.dtype)
        images = jnp.stack([known * middle / scale, doubt / scale, known, inside], axis=-1)
        blocks = self.body(space_to_depth(pad_to_multiple(images, 4)), conditioning)
        return inside * (middle + scale * unpad(depth_to_space(blocks), mask.shape[1:])[..., 0])

    def start(
        self,
        total_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> LocalFields:
        """Compute the two classical estimates in ppm."""

        def one(field: Array, mask: Array, geometry: Geometry, weights: Array | None) -> LocalFields:
            projected, _ = pdf(field, mask, geometry, weights=weights, erosion=0.0)
            bounded, _ = subtract_harmonic_extension(field, mask, geometry)
            return LocalFields(projected, bounded)

        return jax.vmap(one)(total_field, mask, geometry, weights)
