"""The U-Net of our own networks, and its conditioning on a scan."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.data_consistency import root_mean_square
from jaxqsm.networks.blocks.layers import (
    Affine,
    Convolution,
    depth_to_space,
    space_to_depth,
)
from jaxqsm.networks.blocks.slabs import by_slabs

CONDITIONING = 10
"""Length of the conditioning vector, see :func:`conditioning_vector`."""

REACH = 16
"""Blocks by which the U-Net looks beyond one, at most."""


class BlockUNet(nnx.Module):
    """U-Net of two levels on blocks of voxels (:func:`~jaxqsm.networks.blocks.layers.space_to_depth`).

    Each level is of residual blocks, which numbers about the scan scale and shift.

    Args:
        channels: of a block of the input.
        out: of a block of the output.
        width: channels of the upper level; the lower one has twice as many.
        conditioning: length of the conditioning vector.
        gain: of the output at first. Default 0.1; where it corrects something that is good already, 0.
        slab: blocks along x, an even number, that it works on at a time in longer volumes; the result is
            the same.
        rngs: random state.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        width: int,
        conditioning: int,
        slab: int,
        gain: float = 0.1,
        rngs: nnx.Rngs,
    ) -> None:
        self.slab = slab
        self.enter = Convolution(channels, width, rngs=rngs)
        self.first = _Block(width, conditioning, rngs=rngs)
        self.down = Convolution(8 * width, 2 * width, size=1, rngs=rngs)
        self.low = nnx.List([_Block(2 * width, conditioning, rngs=rngs) for _ in range(2)])
        self.up = Convolution(2 * width, 8 * width, size=1, rngs=rngs)
        self.last = _Block(width, conditioning, rngs=rngs)
        self.leave = Convolution(width, out, gain=gain, rngs=rngs)

    def __call__(
        self, blocks: Float[Array, "batch X Y Z c"], conditioning: Float[Array, "batch number"]
    ) -> Float[Array, "batch X Y Z o"]:
        """Lengths must be even."""

        def u_net(part: Array) -> Array:
            wide = self.first(self.enter(part), conditioning)
            deep = self.down(space_to_depth(wide))
            for block in self.low:
                deep = block(deep, conditioning)
            wide = self.last(wide + depth_to_space(self.up(deep)), conditioning)
            return self.leave(jax.nn.silu(wide))

        return by_slabs(u_net, blocks, length=self.slab, halo=REACH, multiple=2)


class _Block(nnx.Module):
    """Residual block; the numbers of the scan act on what lies between its two convolutions."""

    def __init__(self, channels: int, conditioning: int, *, rngs: nnx.Rngs) -> None:
        self.first = Convolution(channels, channels, rngs=rngs)
        self.condition = Affine(conditioning, channels)
        self.second = Convolution(channels, channels, gain=0.3, rngs=rngs)

    def __call__(self, images: Array, conditioning: Array) -> Array:
        inner = self.condition(self.first(jax.nn.silu(images)), conditioning)
        return images + self.second(jax.nn.silu(inner))


def conditioning_vector(
    field: Float[Array, "x y z"], mask: Bool[Array, "x y z"], geometry: Geometry
) -> Float[Array, " number"]:
    """Compute ten numbers of order 1: logarithms of voxel edges and noise, and the field direction.

    The direction enters by its six products, as a field and its opposite are alike. The noise is the mean
    size of second differences over the field's root mean square.
    """
    b = geometry.unit_b0_dir
    products = jnp.stack([b[i] * b[j] for i in range(3) for j in range(i, 3)])
    roughness = jnp.zeros(())
    for axis in range(3):
        difference = jnp.roll(field, 1, axis) + jnp.roll(field, -1, axis) - 2 * field
        known = mask & jnp.roll(mask, 1, axis) & jnp.roll(mask, -1, axis)
        mean = jnp.sum(jnp.abs(difference) * known) / jnp.maximum(known.sum(), 1)
        roughness = roughness + jnp.log(mean / root_mean_square(field, mask) + 1e-3) / 3
    return jnp.concatenate([jnp.log(geometry.voxel_size), products, roughness[None]])
