"""PHU-Net: phase unwrapping by a network that is answerable to the phase it was given."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.block_u_net import BlockUNet
from jaxqsm.networks.blocks.layers import (
    depth_to_space,
    pad_to_multiple,
    space_to_depth,
    unpad,
)
from jaxqsm.networks.network import Network
from jaxqsm.physics import wrap_phase
from jaxqsm.unwrapping import laplacian


@dataclasses.dataclass(frozen=True)
class PHUNetConfig:
    """Size of :class:`PHUNet`.

    Attributes:
        channels: at half resolution; twice as many at a quarter. Default 16.
        slab: voxels along x, a multiple of 4, that the U-Net works on at a time in longer volumes. Default
            128.
    """

    channels: int = 16
    slab: int = 128


class PHUNet(Network):
    """Wrapped to unwrapped phase: a U-Net corrects the least-squares solution, rounding gives the turns.

    :func:`jaxqsm.unwrapping.laplacian` spreads what it cannot explain smoothly over the neighbourhood. The
    network sees that solution and what it leaves of the wrapped phase, and takes the smooth error off. The
    nearest phase that differs from the input by 2π multiples is then the outcome (:meth:`unwrap`): no
    error of the network below half a turn is in it. All of it works on GPU and TPU, where growing regions
    does not. Our U-Net on blocks of voxels is not the published one; the idea is.

    Train it for the task ``unwrapping``.

    Args:
        config: its size.
        rngs: random state.

    References:
        Zhou et al. 2021, MRM 86:3321, doi:10.1002/mrm.28927 (PHU-NET).
    """

    def __init__(self, config: PHUNetConfig = PHUNetConfig(), *, rngs: nnx.Rngs) -> None:
        self.body = BlockUNet(
            8 * 5, 8, width=config.channels, conditioning=3, slab=config.slab // 2, rngs=rngs
        )

    def __call__(
        self,
        wrapped: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
        start: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Predict the unwrapped phase before rounding to 2π multiples, rad, zero outside the mask.

        Args:
            wrapped: rad.
            mask: where it is meaningful.
            geometry: with a leading batch axis on both leaves.
            weights: optional, any unit.
            start: that of :meth:`start` for the same arguments, if you have it already.
        """
        start = self.start(wrapped, mask, geometry, weights) if start is None else start
        inside = mask.astype(start.dtype)
        sure = inside if weights is None else jax.vmap(_relative)(weights, mask)
        left = (wrapped - start) * inside
        images = jnp.stack([start / jnp.pi, jnp.cos(left) * inside, jnp.sin(left), sure, inside], axis=-1)
        blocks = space_to_depth(pad_to_multiple(images, 4))
        change = depth_to_space(self.body(blocks, jnp.log(geometry.voxel_size)))
        return inside * (start + jnp.pi * unpad(change, mask.shape[1:])[..., 0])

    def start(
        self,
        wrapped: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Unwrap by least squares, rad. ``weights`` are not used."""
        return jax.vmap(laplacian)(wrapped, mask, geometry)

    def unwrap(
        self,
        wrapped: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Unwrap to exact 2π multiples, rad, zero outside the mask."""
        near = self(wrapped, mask, geometry, weights)
        return mask * (near - wrap_phase(near - wrapped))


def _relative(weights: Float[Array, "x y z"], mask: Bool[Array, "x y z"]) -> Float[Array, "x y z"]:
    mean = jnp.sum(weights * mask) / jnp.maximum(mask.sum(), 1)
    return weights * mask / jnp.where(mean > 0, mean, 1)
