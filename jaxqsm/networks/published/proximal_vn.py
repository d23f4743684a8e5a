"""Proximal variational network and learned NDI: steps down the misfit, each followed by a learned image."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.data_consistency import (
    Measurement,
    gradient_step,
    measurement,
    nonlinear_step,
)
from jaxqsm.networks.blocks.layers import Convolution
from jaxqsm.networks.network import Network


@dataclasses.dataclass(frozen=True)
class ProximalVNConfig:
    """Size and units of :class:`ProximalVN`. The papers' idea; sizes are of our choosing.

    Attributes:
        iterations: each with a network of its own. Default 6.
        width: channels of these networks. Default 16.
        depth: convolutions of each. Default 4.
        chi_std: ppm. Default 0.04: that of brains, rounded.
        phase_scale: s, the phase of 1 ppm, for steps down the misfit of exp(i s field). Default 0: down
            that of the field.
    """

    iterations: int = 6
    width: int = 16
    depth: int = 4
    chi_std: float = 0.04
    phase_scale: float = 0.0


class ProximalVN(Network):
    """χ ← Pₙ(χ − stepₙ · D W² (Dχ − field)), Pₙ learned, from χ = 0; or with the steps of NDI.

    A variational network goes down a learned prior; this one takes its proximal map for what is learned,
    which may be any network. That of NDI learns how far to go in each iteration, and what regularisation NDI
    leaves to stopping early.

    Args:
        config: its size, and whether steps are those of the field or of its phase.
        rngs: random state.

    References:
        Kames, Doucette & Rauscher 2019, 5th International QSM Workshop, Seoul (proximal variational
        networks); Polak et al. 2020, NMR Biomed 33:e4271, doi:10.1002/nbm.4271 (NDI and networks of it);
        Adler & Öktem 2018, IEEE TMI 37:1322, doi:10.1109/TMI.2018.2799231 (learned proximal maps).
    """

    def __init__(self, config: ProximalVNConfig = ProximalVNConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.images = nnx.List([_Image(config, rngs=rngs) for _ in range(config.iterations)])
        self.steps = nnx.Param(jnp.full(config.iterations, 1.0))

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask. Squared ``weights`` weigh the data."""
        scale, phase = self.config.chi_std, self.config.phase_scale
        data = jax.vmap(measurement)(local_field, mask, geometry, weights)
        inside = mask.astype(local_field.dtype)

        def consistent(chi: Array, data: Measurement, step: Array) -> Array:
            if phase > 0:
                return nonlinear_step(chi, data, step, phase_scale=phase)
            return gradient_step(chi, data, step)

        chi = jnp.zeros_like(local_field)
        for image, step in zip(self.images, self.steps[...], strict=True):
            chi = jax.vmap(consistent, in_axes=(0, 0, None))(chi, data, step)
            chi = inside * (chi + scale * image(jnp.stack([chi / scale, inside], axis=-1)))
        return chi


class _Image(nnx.Module):
    """Correction of χ: a few convolutions of χ and mask."""

    def __init__(self, config: ProximalVNConfig, *, rngs: nnx.Rngs) -> None:
        widths = [2, *[config.width] * (config.depth - 1)]
        self.layers = nnx.List([Convolution(a, b, rngs=rngs) for a, b in pairwise(widths)])
        self.leave = Convolution(config.width, 1, gain=0.1, rngs=rngs)

    def __call__(self, images: Float[Array, "batch x y z 2"]) -> Float[Array, "batch x y z"]:
        for layer in self.layers:
            images = jax.nn.silu(layer(images))
        return self.leave(images)[..., 0]
