"""iQSM: from wrapped phase to χ in one step, by a Laplacian that does not see wraps and a U-Net."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.networks.blocks.convolution import conv3d
from jaxqsm.networks.blocks.layers import padded
from jaxqsm.networks.blocks.u_net import Images, UNet
from jaxqsm.networks.network import Network
from jaxqsm.networks.published_weights import PublishedWeights, Weights

CHI_PER_OUTPUT = 0.25
"""ppm: the published network's output is four times χ."""

TYPICAL = 0.06
"""Tesla · seconds, by which the Laplacian's scale is made independent of echo time and field strength."""


@dataclasses.dataclass(frozen=True)
class IQSMConfig:
    """Size of :class:`IQSM`, by default as published.

    Attributes:
        channels: of the first level; each deeper one has twice as many. Default 16.
        depth: number of halvings. Default 4.
        filters: learned filters beside the Laplacian. Default 15; 0 as in the first release.
        echo_time, field_strength: s and T, of the phase that a total field is turned into where the network
            is given one. Defaults 0.02 and 3.
    """

    channels: int = 16
    depth: int = 4
    filters: int = 15
    echo_time: float = 0.02
    field_strength: float = 3.0


class IQSM(Network):
    """Wrapped phase of one echo to χ: no unwrapping, no background removal, no dipole.

    Im(exp(−iφ) ∇² exp(iφ)) is ∇²φ without its wraps, and takes most of the background away. Learned filters
    in place of ∇² stand beside it. It has learned one resolution and one orientation.

    Args:
        config: its size.
        rngs: random state.

    References:
        Gao et al. 2022, NeuroImage 259:119410, doi:10.1016/j.neuroimage.2022.119410.
    """

    def __init__(self, config: IQSMConfig = IQSMConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        laplacian = _laplacian()[..., None, None]
        self.laplacian = nnx.Param(laplacian)
        self.filters = nnx.Param(jnp.tile(laplacian, (1, 1, 1, 1, config.filters)))
        widths = [config.channels * 2**level for level in range(config.depth + 1)]
        self.body = self.make_body(1 + config.filters, widths, rngs)

    @staticmethod
    def make_body(channels: int, widths: list[int], rngs: nnx.Rngs) -> Any:
        """Make the U-Net after the filters, from ``channels`` images to one, with levels of ``widths``."""
        return UNet(channels, 1, widths, narrowing=True, rngs=rngs)

    def __call__(
        self,
        total_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry | None = None,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask, from the phase that a total field in ppm makes.

        ``geometry`` and ``weights`` are not used. For a scan's own phase use :meth:`from_phase`.
        """
        acquisition = Acquisition((self.config.echo_time,), self.config.field_strength)
        phase = total_field * mask * acquisition.phase_per_ppm[0]
        return self.from_phase(phase, mask, acquisition, geometry)

    def from_phase(
        self,
        phase: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        acquisition: Acquisition,
        geometry: Geometry | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm from wrapped phase; zero outside the mask.

        Args:
            phase: wrapped or not, rad.
            mask: where it is valid.
            acquisition: of the one echo.
            geometry: not used.
        """
        scale = TYPICAL / (acquisition.field_strength * acquisition.echo_times[0])
        kernels = jnp.concatenate([self.laplacian[...], self.filters[...]], axis=-1)
        images = scale * mask[..., None] * _wrap_free(phase, kernels)
        out = padded(lambda v: self.through(v, geometry), images, 2**self.config.depth)
        return CHI_PER_OUTPUT * (out[..., 0] + images[..., 0]) * mask

    def through(self, images: Images, geometry: Geometry | None) -> Images:
        """Compute the correction that is added to the filtered phase."""
        del geometry
        return self.body(images)


def _wrap_free(phase: Array, kernels: ArrayLike) -> Array:
    cosine, sine = (f(phase)[..., None] for f in (jnp.cos, jnp.sin))
    filtered = conv3d(sine, kernels) * cosine - conv3d(cosine, kernels) * sine
    # The outermost voxels lack neighbours.
    return jnp.pad(filtered[:, 1:-1, 1:-1, 1:-1], [(0, 0), (1, 1), (1, 1), (1, 1), (0, 0)])


def _laplacian() -> Array:
    """Laplacian of 27 points, as published: weights 3, 1.5 and 1 over 13 of faces, edges and corners."""
    steps = jnp.abs(jnp.arange(3) - 1)
    distance = steps[:, None, None] + steps[:, None] + steps
    return jnp.array([-44 / 13, 3 / 13, 3 / 26, 1 / 13])[distance]


def phase_filters(named: PublishedWeights) -> tuple[str, Weights]:
    """Read the prefix of the U-Net's weights, and the filters before it."""
    prefix = "Unet." if any(name.startswith("Unet.") for name in named.weights) else ""
    if not any(name.endswith("conv_y") for name in named.weights):
        # The first release keeps the U-Net alone: its Laplacian is fixed.
        laplacian = np.asarray(_laplacian())[..., None, None]
        return prefix, {"laplacian": laplacian, "filters": np.zeros((3, 3, 3, 1, 0), np.float32)}
    layer = "LoT_Layer." if "LoT_Layer.conv_x" in named.weights else ""
    return prefix, {
        "laplacian": named.weights[f"{layer}conv_x"].transpose(2, 3, 4, 1, 0),
        "filters": named.weights[f"{layer}conv_y"].transpose(2, 3, 4, 1, 0),
    }


def published_options(named: PublishedWeights) -> dict[str, int]:
    """Read how many filters the authors' file has."""
    return {"filters": phase_filters(named)[1]["filters"].shape[-1]}


def from_published(named: PublishedWeights) -> Weights:
    """Read the weights of the authors' PyTorch file (sunhongfu/deepMRI), of either release."""
    prefix, found = phase_filters(named)

    def twice(theirs: str, ours: str) -> Weights:
        found: Weights = {}
        for place in range(2):
            found |= named.torch_layer(f"{theirs}.{3 * place}", f"{ours}.{place}.convolution")
            found |= named.torch_norm(f"{theirs}.{3 * place + 1}", f"{ours}.{place}.norm")
        return found

    level = 0
    while f"{prefix}EncodeConvs.{level}.EncodeConv.0.weight" in named.weights:
        up = f"{prefix}DecodeConvs.{level}.up"
        found |= twice(f"{prefix}EncodeConvs.{level}.EncodeConv", f"body.encoder.levels.{level}")
        found |= twice(f"{prefix}DecodeConvs.{level}.DecodeConv", f"body.decoder.levels.{level}")
        found |= named.torch_layer(f"{up}.0", f"body.decoder.ups.{level}", transposed=True)
        found |= named.torch_norm(f"{up}.1", f"body.decoder.norms.{level}")
        level += 1
    found |= twice(f"{prefix}MidConv1.MidConv", f"body.encoder.levels.{level}")
    return found | named.torch_layer(f"{prefix}FinalConv", "body.decoder.leave")
