"""Neumann network: a series of powers of the inversion's own iteration, with a learned part in each."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.data_consistency import Measurement, measurement
from jaxqsm.networks.blocks.wide_residual import WideResidual
from jaxqsm.networks.network import Network


@dataclasses.dataclass(frozen=True)
class NeumannConfig:
    """Size and units of :class:`Neumann`. The paper's idea; sizes are of our choosing.

    Attributes:
        terms: of the series, besides its first. Default 6.
        width: channels of the learned part. Default 32.
        blocks: residual blocks of the learned part. Default 4.
        dropout: of the learned part in training. Default 0.
        chi_std: ppm; the learned part works on χ over it. Default 0.04: that of brains, rounded.
    """

    terms: int = 6
    width: int = 32
    blocks: int = 4
    dropout: float = 0.0
    chi_std: float = 0.04


class Neumann(Network):
    """χ = Σ terms, of which the first is step · D W² field and each next (1 − step · D W² D) t − R(t).

    Without the learned R it is the Neumann series of the least-squares solution.

    Args:
        config: its size.
        rngs: random state.

    References:
        Gilton, Ongie & Willett 2020, IEEE TCI 6:328, doi:10.1109/TCI.2019.2948732.
    """

    def __init__(self, config: NeumannConfig = NeumannConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.step = nnx.Param(jnp.full((), 1.0))
        self.gain = nnx.Param(jnp.full((), 0.1))
        self.learned = WideResidual(
            1, width=config.width, blocks=config.blocks, dropout=config.dropout, rngs=rngs
        )

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask. Squared ``weights`` weigh the data."""
        scale = self.config.chi_std
        data = jax.vmap(measurement)(local_field, mask, geometry, weights)
        term = self.step[...] * jax.vmap(_back)(data.field, data)
        chi = term
        for _ in range(self.config.terms):
            shorter = term - self.step[...] * jax.vmap(_normal)(term, data)
            learned = scale * self.learned((term * mask / scale)[..., None])[..., 0]
            term = (shorter - self.gain[...] * learned) * mask
            chi = chi + term
        return chi * mask


def _back(field: Array, data: Measurement) -> Array:
    return data.predict(data.weights**2 * field)


def _normal(chi: Array, data: Measurement) -> Array:
    return _back(data.predict(chi), data)
