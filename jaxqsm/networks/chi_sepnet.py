"""χ-sepnet: iron and myelin apart by a network that is shown field and reversible relaxation."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.block_u_net import NUMBERS, BlockUNet, describe, root_mean_square
from jaxqsm.networks.data_consistency import Measurement, closed_form_step, measurement
from jaxqsm.networks.layers import depth_to_space, pad_to_multiple, space_to_depth, unpad

FIRST_STRENGTH = 0.05
"""Of the closed-form inversion that the network is shown."""


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


class ChiSepnet(nnx.Module):
    """Local field and R2′ to χ⁺ and χ⁻: their difference by the physics, their sum by R2′, corrected by a
    U-Net.

    As in χ-separation (:func:`jaxqsm.separation.chi_separation`) the field tells χ⁺ + χ⁻, and R2′ over the
    relaxivity χ⁺ − χ⁻; half of sum and difference are where the network begins. It is told of voxel size,
    direction and noise. Our U-Net on blocks of voxels is not the published one; what goes in and out is.

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
            8 * 5, 16, width=config.channels, numbers=NUMBERS, slab=config.slab // 2, rngs=rngs
        )

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        magnitude: Float[Array, "batch x y z"] | None,
        start: Float[Array, "batch x y z"],
    ) -> Float[Array, "batch x y z 2"]:
        """χ⁺ and χ⁻ (not positive) in ppm, zero outside the mask.

        Args:
            local_field: ppm.
            mask: where it is valid.
            geometry: with a leading batch axis on both leaves.
            magnitude: optional, any unit.
            start: R2′ over the relaxivity, i.e. χ⁺ − χ⁻, ppm.
        """
        inside = mask.astype(local_field.dtype)
        data = jax.vmap(measurement)(local_field, mask, geometry, magnitude)
        scale = jax.vmap(root_mean_square)(start, mask)[:, None, None, None]
        data = data._replace(field=data.field / scale)
        together = jnp.maximum(start, 0) * inside / scale

        def invert(data: Measurement) -> Array:
            return closed_form_step(jnp.zeros_like(data.field), data, FIRST_STRENGTH)

        chi = jax.vmap(invert)(data) * inside
        trusted = data.field * jnp.minimum(data.weights, 1)
        numbers = jax.vmap(describe)(trusted, mask, geometry)
        images = jnp.stack([trusted, chi, together, data.weights, inside], axis=-1)
        change = depth_to_space(self.body(space_to_depth(pad_to_multiple(images, 4)), numbers))
        positive, negative = jnp.moveaxis(unpad(change, mask.shape[1:]), -1, 0)
        positive = (together + chi) / 2 + positive
        negative = (together - chi) / 2 + negative
        scale, inside = scale[..., None], inside[..., None]
        return scale * inside * jnp.stack([positive, -negative], axis=-1)
