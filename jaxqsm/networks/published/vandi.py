"""VaNDI: gradient steps of nonlinear dipole inversion with learned filters and responses."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.convolution import conv3d
from jaxqsm.networks.blocks.data_consistency import Measurement, measurement, nonlinear_step
from jaxqsm.networks.network import Network


@dataclasses.dataclass(frozen=True)
class VaNDIConfig:
    """Size and units of :class:`VaNDI`. The paper's idea; sizes are of our choosing.

    Attributes:
        iterations: each with filters of its own. Default 10.
        filters: an iteration. Default 24.
        size: of the filters' cubic kernels. Default 5.
        nodes: of the responses, Gaussians evenly spaced. Default 31.
        reach: filtered χ over ``chi_std`` at the outermost nodes. Default 3.
        chi_std: ppm. Default 0.04: that of brains, rounded.
        phase_scale: s, the phase of 1 ppm. Default 16, i.e. 20 ms at 3 T.
    """

    iterations: int = 10
    filters: int = 24
    size: int = 5
    nodes: int = 31
    reach: float = 3.0
    chi_std: float = 0.04
    phase_scale: float = 16.0


class VaNDI(Network):
    """χ ← χ − Kᵀ φ(K χ) − step · D W² sin(s (Dχ − field)) / s: a variational network, from χ = 0.

    K are learned filters and φ learned responses, so that each iteration goes down a prior of its own.

    Args:
        config: its size.
        rngs: random state.

    References:
        Polak et al. 2020, NMR Biomed 33:e4271, doi:10.1002/nbm.4271 (VaNDI); Hammernik et al. 2018, MRM
        79:3055, doi:10.1002/mrm.26977 (variational networks).
    """

    def __init__(self, config: VaNDIConfig = VaNDIConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        count, size, filters = config.iterations, config.size, config.filters
        standard_deviation = 1 / math.sqrt(size**3)
        shape = (count, size, size, size, 1, filters)
        self.kernels = nnx.Param(standard_deviation * jax.random.normal(rngs.params(), shape))
        # Weak shrinkage at first: φ grows with its argument.
        nodes = jnp.linspace(-1, 1, config.nodes)
        self.responses = nnx.Param(jnp.broadcast_to(0.02 * nodes, (count, filters, config.nodes)) + 0)
        self.steps = nnx.Param(jnp.full(count, 1.0))

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask. Squared ``weights`` weigh the data."""
        config = self.config
        data = jax.vmap(measurement)(local_field, mask, geometry, weights)
        chi = jnp.zeros_like(local_field)

        def consistent(chi: Array, data: Measurement, step: Array) -> Array:
            return nonlinear_step(chi, data, step, phase_scale=config.phase_scale)

        for number in range(config.iterations):
            prior = config.chi_std * self._prior(chi / config.chi_std, number)
            pulled = jax.vmap(consistent, in_axes=(0, 0, None))(chi, data, self.steps[number])
            chi = (pulled - prior) * mask
        return chi

    def _prior(self, chi: Float[Array, "batch x y z"], number: int) -> Float[Array, "batch x y z"]:
        kernels = self.kernels[number]
        kernels = kernels - jnp.mean(kernels, (0, 1, 2), keepdims=True)  # what is constant costs nothing
        filtered = conv3d(chi[..., None], kernels)
        config = self.config
        spacing = 2 * config.reach / (config.nodes - 1)

        def add(total: Array, node: tuple[Array, Array]) -> tuple[Array, None]:
            place, height = node
            return total + height * jnp.exp(-0.5 * ((filtered - place) / spacing) ** 2), None

        places = jnp.linspace(-config.reach, config.reach, config.nodes)
        response, _ = jax.lax.scan(add, jnp.zeros_like(filtered), (places, self.responses[number].T))
        turned = kernels[::-1, ::-1, ::-1].swapaxes(3, 4)
        return conv3d(response, turned)[..., 0]
