"""χ-sepnet: separation of iron and myelin by a network, from field and R2′."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.block_u_net import CONDITIONING, BlockUNet, conditioning_vector
from jaxqsm.networks.blocks.data_consistency import measurement, root_mean_square
from jaxqsm.networks.blocks.layers import (
    depth_to_space,
    pad_to_multiple,
    space_to_depth,
    unpad,
)
from jaxqsm.networks.network import Network
from jaxqsm.separation import chi_separation

START_ITERATIONS = 60
"""More change the start by less than the network does."""


class Sources(NamedTuple):
    """Classical start of :class:`ChiSepnet`, ppm.

    Attributes:
        together: R2′ over the relaxivity, i.e. χ⁺ − χ⁻.
        positive: χ⁺ of :func:`jaxqsm.separation.chi_separation`.
        negative: its χ⁻, not positive.
    """

    together: Float[Array, "batch x y z"]
    positive: Float[Array, "batch x y z"]
    negative: Float[Array, "batch x y z"]


@dataclasses.dataclass(frozen=True)
class ChiSepnetConfig:
    """Size of :class:`ChiSepnet`.

    Attributes:
        channels: at half resolution; twice as many at a quarter. Default 24.
        slab: voxels along x, a multiple of 4, that the U-Net works on at a time in longer volumes. Default
            128.
    """

    channels: int = 24
    slab: int = 128


class ChiSepnet(Network):
    """Local field and R2′ to χ⁺ and χ⁻: those of a classical separation, corrected by a U-Net.

    The field tells χ⁺ + χ⁻, and R2′ over the relaxivity χ⁺ − χ⁻. The network sees both, χ⁺ and χ⁻ of
    :func:`jaxqsm.separation.chi_separation`, and what these leave of the field unexplained. It is told of
    voxel size, direction and noise. Our U-Net on blocks of voxels is not the published one.

    Train it for the task ``separation``.

    Args:
        config: its size.
        rngs: random state.

    References:
        Kim et al. 2024, arXiv:2409.14030 (χ-sepnet); Shin et al. 2021, NeuroImage 240:118371,
        doi:10.1016/j.neuroimage.2021.118371 (χ-separation).
    """

    def __init__(self, config: ChiSepnetConfig = ChiSepnetConfig(), *, rngs: nnx.Rngs) -> None:
        self.body = BlockUNet(
            8 * 7, 16, width=config.channels, conditioning=CONDITIONING, slab=config.slab // 2, rngs=rngs
        )

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None,
        start: Sources,
    ) -> Float[Array, "batch x y z 2"]:
        """Separate χ⁺ and χ⁻ (not positive) in ppm, zero outside the mask."""
        inside = mask.astype(local_field.dtype)
        data = jax.vmap(measurement)(local_field, mask, geometry, weights)
        scale = jax.vmap(root_mean_square)(start.together, mask)[:, None, None, None]
        data = data._replace(field=data.field / scale)
        together, positive, negative = (v * inside / scale for v in start)
        sure = jnp.minimum(data.weights, 1)
        left = data.field - jax.vmap(lambda d, chi: d.predict(chi))(data, positive + negative)
        conditioning = jax.vmap(conditioning_vector)(sure * data.field, mask, geometry)
        images = [sure * data.field, sure * left, together, positive, negative, data.weights, inside]
        blocks = space_to_depth(pad_to_multiple(jnp.stack(images, axis=-1), 4))
        change = unpad(depth_to_space(self.body(blocks, conditioning)), mask.shape[1:])
        begun = jnp.stack([positive, negative], axis=-1)
        return (scale * inside)[..., None] * (begun + change)

    def start(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
        *second: Float[Array, "batch x y z"],
    ) -> Sources:
        """Compute the classical separation. ``second`` is R2′ over the relaxivity, ppm."""
        (together,) = second

        def one(field: Array, together: Array, mask: Array, geometry: Geometry, weights: Array | None):
            return chi_separation(
                field,
                together,
                mask,
                geometry,
                magnitude=weights,
                relaxivity=1.0,
                max_iterations=START_ITERATIONS,
            )

        return Sources(together, *jax.vmap(one)(local_field, together, mask, geometry, weights))
