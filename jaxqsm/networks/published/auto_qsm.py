"""autoQSM: total field to χ by a V-Net, levels of residual convolutions."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.layers import (
    Convolution,
    TransposedConvolution,
    padded,
    space_to_depth,
)
from jaxqsm.networks.network import Network
from jaxqsm.variational.common import referenced


@dataclasses.dataclass(frozen=True)
class AutoQSMConfig:
    """Size and units of :class:`AutoQSM`. The paper's idea; sizes are of our choosing.

    Attributes:
        channels: of the first level; each deeper one has twice as many. Default 16, as a V-Net.
        depth: number of halvings. Default 3.
        total_std, chi_std: ppm, of what enters and leaves. Defaults 0.2 and 0.04.
    """

    channels: int = 16
    depth: int = 3
    total_std: float = 0.2
    chi_std: float = 0.04


class AutoQSM(Network):
    """One network for background removal and inversion; train it for ``single_step``.

    The published network also finds the brain, so that it needs no mask; this one is given it, or an
    all-true mask where there is none. It does not know of voxel size and field direction.

    Args:
        config: its size.
        rngs: random state.

    References:
        Wei et al. 2019, NeuroImage 202:116064, doi:10.1016/j.neuroimage.2019.116064; Milletari, Navab &
        Ahmadi 2016, 3DV, doi:10.1109/3DV.2016.79 (V-Net).
    """

    def __init__(self, config: AutoQSMConfig = AutoQSMConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        widths = [config.channels * 2**level for level in range(config.depth + 1)]
        self.enter = Convolution(1, widths[0], rngs=rngs)
        # As many convolutions as the level is deep, up to three.
        self.levels = nnx.List([_Residual(w, min(level + 1, 3), rngs=rngs) for level, w in enumerate(widths)])
        self.downs = nnx.List([Convolution(8 * w, 2 * w, size=1, rngs=rngs) for w in widths[:-1]])
        self.ups = nnx.List([TransposedConvolution(2 * w, w, rngs=rngs) for w in widths[:-1]])
        self.joins = nnx.List([Convolution(2 * w, w, size=1, rngs=rngs) for w in widths[:-1]])
        self.merged = nnx.List(
            [_Residual(w, min(level + 1, 3), rngs=rngs) for level, w in enumerate(widths[:-1])]
        )
        self.leave = Convolution(widths[0], 1, size=1, rngs=rngs)

    def __call__(
        self,
        total_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry | None = None,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask. ``geometry`` and ``weights`` are not used."""
        config = self.config
        centred = jax.vmap(referenced)(total_field, mask) / config.total_std
        return config.chi_std * padded(self._body, centred[..., None], 2**config.depth)[..., 0] * mask

    def _body(self, images: Float[Array, "b x y z 1"]) -> Float[Array, "b x y z 1"]:
        images = self.levels[0](self.enter(images))
        skips = []
        for level, down in zip(self.levels[1:], self.downs, strict=True):
            skips.append(images)
            # A convolution of stride 2 and size 2.
            images = level(jax.nn.elu(down(space_to_depth(images))))
        for number in reversed(range(len(skips))):
            up = jax.nn.elu(self.ups[number](images))
            images = self.merged[number](self.joins[number](jnp.concatenate([up, skips[number]], -1)))
        return self.leave(images)


class _Residual(nnx.Module):
    def __init__(self, channels: int, count: int, *, rngs: nnx.Rngs) -> None:
        self.convolutions = nnx.List([Convolution(channels, channels, rngs=rngs) for _ in range(count)])

    def __call__(self, images: Float[Array, "b x y z c"]) -> Float[Array, "b x y z c"]:
        found = images
        for convolution in self.convolutions:
            found = jax.nn.elu(convolution(found))
        return images + found
