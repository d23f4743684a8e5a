"""QSMInvNet: gated encoder and decoder, with a block at the bottom that looks at the whole brain."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.layers import Convolution, TransposedConvolution, padded
from jaxqsm.networks.blocks.u_net import Images, down_and_up
from jaxqsm.networks.network import Network


@dataclasses.dataclass(frozen=True)
class QSMInvNetConfig:
    """Size and units of :class:`QSMInvNet`. The paper's idea; sizes are of our choosing.

    Attributes:
        channels: of the first level; each deeper one has twice as many. Default 16.
        depth: number of halvings. Default 4: of 160³ voxels the non-local block then sees 1 000.
        field_std, chi_std: ppm, of what enters and leaves. Defaults 0.02 and 0.04.
    """

    channels: int = 16
    depth: int = 4
    field_std: float = 0.02
    chi_std: float = 0.04


class QSMInvNet(Network):
    """Local field to χ. A field reaches far, and so does the block at the bottom: any voxel sees any other.

    Every convolution has a gate, a second one that says where the first counts: so border and noise are
    distinguished from tissue. It does not know of voxel size and field direction.

    Args:
        config: its size.
        rngs: random state.

    References:
        Liu & Koch 2019, arXiv:1904.05493; Wang et al. 2018, CVPR, doi:10.1109/CVPR.2018.00813 (non-local).
    """

    def __init__(self, config: QSMInvNetConfig = QSMInvNetConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        widths = [config.channels * 2**level for level in range(config.depth + 1)]
        befores = [2, *widths[:-1]]
        self.encoders = nnx.List(
            [GatedConvolution(a, b, rngs=rngs) for a, b in zip(befores, widths, strict=True)]
        )
        self.bottom = NonLocal(widths[-1], rngs=rngs)
        self.ups = nnx.List([TransposedConvolution(2 * w, w, rngs=rngs) for w in widths[:-1]])
        self.decoders = nnx.List([GatedConvolution(2 * w, w, rngs=rngs) for w in widths[:-1]])
        self.leave = Convolution(widths[0], 1, size=1, rngs=rngs)

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry | None = None,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask. ``geometry`` and ``weights`` are not used."""
        images = jnp.stack([local_field * mask / self.config.field_std, mask], axis=-1)
        found = padded(self._body, images, 2**self.config.depth)
        return self.config.chi_std * found[..., 0] * mask

    def _body(self, images: Images) -> Images:
        found = down_and_up(images, self.encoders, self.ups, self.decoders, bottom=self.bottom)
        return self.leave(found)


class GatedConvolution(nnx.Module):
    """ELU of a convolution, times the sigmoid of another.

    Source: Yu et al. 2019, ICCV, doi:10.1109/ICCV.2019.00457.
    """

    def __init__(self, channels: int, out: int, *, rngs: nnx.Rngs) -> None:
        self.both = Convolution(channels, 2 * out, rngs=rngs)

    def __call__(self, images: Images) -> Images:
        value, gate = jnp.split(self.both(images), 2, axis=-1)
        return jax.nn.elu(value) * jax.nn.sigmoid(gate)


class NonLocal(nnx.Module):
    """Every voxel takes up what voxels like it hold, wherever they are; starts as the identity."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        inner = max(channels // 2, 1)
        self.query, self.key, self.value = (Convolution(channels, inner, size=1, rngs=rngs) for _ in range(3))
        self.leave = Convolution(inner, channels, size=1, gain=0.0, rngs=rngs)

    def __call__(self, images: Images) -> Images:
        def voxels(found: Images) -> Float[Array, "batch voxel c"]:
            return found.reshape(found.shape[0], -1, found.shape[-1])

        query, key, value = (voxels(layer(images)) for layer in (self.query, self.key, self.value))
        likeness = jax.nn.softmax(query @ key.swapaxes(1, 2) / math.sqrt(query.shape[-1]), axis=-1)
        taken = (likeness @ value).reshape(*images.shape[:-1], -1)
        return images + self.leave(taken)
