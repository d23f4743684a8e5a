"""AdaIN-QSM: a U-Net with adaptive instance normalisation, conditioned on the voxel size."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.layers import Convolution, TransposedConvolution, padded
from jaxqsm.networks.blocks.u_net import Images, down_and_up
from jaxqsm.networks.network import Network


@dataclasses.dataclass(frozen=True)
class AdaINQSMConfig:
    """Size and units of :class:`AdaINQSM`. The paper's idea; sizes are of our choosing.

    Attributes:
        channels: of the first level; each deeper one has twice as many. Default 16.
        depth: number of halvings. Default 3.
        code: numbers that a scan's geometry is made into. Default 32.
        field_std, chi_std: ppm, of what enters and leaves. Defaults 0.02 and 0.04.
    """

    channels: int = 16
    depth: int = 3
    code: int = 32
    field_std: float = 0.02
    chi_std: float = 0.04


class AdaINQSM(Network):
    """Local field to χ by one set of weights for all resolutions: the geometry says how channels are scaled.

    A small network makes a code of voxel size and field direction (the published one of the voxel size), and
    of it the mean and size that every channel of every level is given.

    Args:
        config: its size.
        rngs: random state.

    References:
        Oh, Bae, Ahn, Park & Ye 2022, Med Image Anal 79:102477, doi:10.1016/j.media.2022.102477; Huang &
        Belongie 2017, ICCV, doi:10.1109/ICCV.2017.167 (adaptive instance normalisation).
    """

    def __init__(self, config: AdaINQSMConfig = AdaINQSMConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        widths = [config.channels * 2**level for level in range(config.depth + 1)]
        self.coder = nnx.List(
            [nnx.Linear(6, config.code, rngs=rngs), nnx.Linear(config.code, config.code, rngs=rngs)]
        )
        befores = [1, *widths[:-1]]
        self.encoders = nnx.List(
            [_Styled(a, b, config.code, rngs=rngs) for a, b in zip(befores, widths, strict=True)]
        )
        self.ups = nnx.List([TransposedConvolution(2 * w, w, rngs=rngs) for w in widths[:-1]])
        self.decoders = nnx.List([_Styled(2 * w, w, config.code, rngs=rngs) for w in widths[:-1]])
        self.leave = Convolution(widths[0], 1, size=1, rngs=rngs)

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask. ``weights`` are not used."""
        direction = geometry.unit_b0_dir
        # The sign of the field's direction does not matter to the dipole.
        conditioning = jnp.concatenate([jnp.log(geometry.voxel_size), direction**2], axis=-1)
        code = jax.nn.elu(self.coder[1](jax.nn.elu(self.coder[0](conditioning))))
        images = (local_field * mask / self.config.field_std)[..., None]
        found = padded(lambda v: self._body(v, code), images, 2**self.config.depth)
        return self.config.chi_std * found[..., 0] * mask

    def _body(self, images: Images, code: Float[Array, "batch code"]) -> Images:
        encoders, decoders = (
            [partial(s, code=code) for s in level] for level in (self.encoders, self.decoders)
        )
        return self.leave(down_and_up(images, encoders, self.ups, decoders))


class _Styled(nnx.Module):
    """Two convolutions, each channel of which is given its mean and size by the code."""

    def __init__(self, channels: int, out: int, code: int, *, rngs: nnx.Rngs) -> None:
        self.convolutions = nnx.List(
            [Convolution(channels, out, rngs=rngs), Convolution(out, out, rngs=rngs)]
        )
        self.styles = nnx.List([nnx.Linear(code, 2 * out, rngs=rngs) for _ in range(2)])

    def __call__(self, images: Images, code: Float[Array, "batch code"]) -> Images:
        for convolution, style in zip(self.convolutions, self.styles, strict=True):
            images = convolution(images)
            mean, square = (jnp.mean(v, (1, 2, 3), keepdims=True) for v in (images, images**2))
            size, shift = jnp.split(style(code)[:, None, None, None], 2, axis=-1)
            normal = (images - mean) * jax.lax.rsqrt(jnp.maximum(square - mean**2, 0) + 1e-5)
            images = jax.nn.leaky_relu((1 + size) * normal + shift, 0.2)
        return images
