"""QSMGAN: a U-Net of wide reach, and the critic that it is trained against."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.layers import (
    Convolution,
    pad_to_multiple,
    padded,
    space_to_depth,
)
from jaxqsm.networks.blocks.u_net import UNet
from jaxqsm.networks.network import Network


@dataclasses.dataclass(frozen=True)
class QSMGANConfig:
    """Size and units of :class:`QSMGAN`. The paper's idea; sizes are of our choosing.

    Attributes:
        channels: of the first level; each deeper one has twice as many. Default 16.
        depth: number of halvings. Default 4: each reaches twice as far into the field.
        field_std, chi_std: ppm, of what enters and leaves. Defaults 0.02 and 0.04.
    """

    channels: int = 16
    depth: int = 4
    field_std: float = 0.02
    chi_std: float = 0.04


class QSMGAN(Network):
    """Local field to χ by a U-Net; train it with ``adversarial`` above 0, against a :class:`Critic`.

    It does not know of voxel size and field direction. The published network is trained to be right in the
    middle of patches whose field it sees further out, so that its reach is filled: ours pads whole scans.

    Args:
        config: its size.
        rngs: random state.

    References:
        Chen et al. 2020, NeuroImage 207:116389, doi:10.1016/j.neuroimage.2019.116389.
    """

    def __init__(self, config: QSMGANConfig = QSMGANConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        widths = [config.channels * 2**level for level in range(config.depth + 1)]
        self.body = UNet(1, 1, widths, slope=0.2, rngs=rngs)

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry | None = None,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask. ``geometry`` and ``weights`` are not used."""
        images = (local_field * mask / self.config.field_std)[..., None]
        return self.config.chi_std * padded(self.body, images, 2**self.config.depth)[..., 0] * mask


class Critic(nnx.Module):
    """One number for a map of χ, in view of the field: how much more it looks like truth than like a guess.

    Without batch normalisation, as the penalty on its slope is of each example alone.

    Args:
        channels: of the first level; each deeper one has twice as many. Default 16.
        depth: number of halvings. Default 3.
        rngs: random state.

    References:
        Gulrajani et al. 2017, NeurIPS, arXiv:1704.00028.
    """

    def __init__(self, channels: int = 16, depth: int = 3, *, rngs: nnx.Rngs) -> None:
        widths = [2, *(channels * 2**level for level in range(depth))]
        self.levels = nnx.List([Convolution(8 * a, b, rngs=rngs) for a, b in itertools.pairwise(widths)])
        self.leave = nnx.Linear(widths[-1], 1, rngs=rngs)

    def __call__(
        self, chi: Float[Array, "batch x y z"], field: Float[Array, "batch x y z"]
    ) -> Float[Array, " batch"]:
        """Both over their usual size, not in ppm; zero outside the mask."""
        images = pad_to_multiple(jnp.stack([chi, field], axis=-1), 2 ** len(self.levels))
        for level in self.levels:
            images = jax.nn.leaky_relu(level(space_to_depth(images)), 0.2)
        return self.leave(jnp.mean(images, (1, 2, 3)))[:, 0]
