"""SpiNet-QSM: an unrolled network whose data consistency has a learned norm."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks import wide_residual
from jaxqsm.networks.blocks.data_consistency import Measurement, measurement
from jaxqsm.networks.blocks.wide_residual import WideResidual
from jaxqsm.networks.network import Network
from jaxqsm.networks.published_weights import PublishedWeights, Weights
from jaxqsm.solvers import conjugate_gradient

SOFTNESS = 1e-6
"""ppm. |χ − z| is taken as at least this, where its power below zero would be infinite."""

PUBLISHED_STATISTICS = {"chi_mean": -0.0027, "chi_std": 0.0289}
"""ppm, mean and standard deviation of the authors' training data, which their weights go with."""


@dataclasses.dataclass(frozen=True)
class SpiNetQSMConfig:
    """Size and units of :class:`SpiNetQSM`. Sizes default to the published ones.

    Attributes:
        iterations: default 3.
        solver_iterations: of conjugate gradients. Default 25.
        width: channels of the denoiser. Default 32.
        blocks: residual blocks of the denoiser. Default 8.
        dropout: of the denoiser in training. Default 0.5.
        chi_mean, chi_std: ppm; the denoiser works on χ less the mean over the standard deviation. Defaults 0
            and 0.04: those of brains, rounded.
    """

    iterations: int = 3
    solver_iterations: int = 25
    width: int = 32
    blocks: int = 8
    dropout: float = 0.5
    chi_mean: float = 0.0
    chi_std: float = 0.04


class SpiNetQSM(Network):
    """z ← denoiser(χ), then χ ← argmin |Dχ − field|² + strength · Σ |χ − z|^norm; from χ = D field.

    The second is one reweighted least-squares step, solved by conjugate gradients; strength and norm are
    learned. As published, the denoiser has a second channel for an imaginary part, which only enters the
    weights.

    Args:
        config: its size.
        rngs: random state.

    References:
        Venkatesh, Mathew & Yalavarthy 2024, MAGMA 37:411, doi:10.1007/s10334-024-01158-7.
    """

    def __init__(self, config: SpiNetQSMConfig = SpiNetQSMConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.strength = nnx.Param(jnp.full((), 0.5))
        self.norm = nnx.Param(jnp.full((), 2.0))
        self.denoiser = WideResidual(
            2, width=config.width, blocks=config.blocks, dropout=config.dropout, rngs=rngs
        )

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask. ``weights`` are not used."""
        config = self.config
        data = jax.vmap(measurement)(local_field, mask, geometry)
        inside = mask.astype(local_field.dtype)[..., None]
        start = jax.vmap(Measurement.predict)(data, data.field)
        chi = jnp.stack([start, jnp.zeros_like(start)], axis=-1)
        for _ in range(config.iterations):
            chi = chi * inside
            proposed = self.denoiser((chi - config.chi_mean) / config.chi_std)
            proposed = proposed * config.chi_std + config.chi_mean
            chi = jax.vmap(self._consistent)(chi, proposed, data) * inside
        return chi[..., 0]

    def _consistent(self, chi: Array, proposed: Array, data: Measurement) -> Array:
        distance = jnp.sqrt(jnp.sum((chi - proposed) ** 2, axis=-1, keepdims=True) + SOFTNESS**2)
        weights = self.strength[...] * distance ** (self.norm[...] - 2)
        forth = jnp.stack([data.predict(data.field), jnp.zeros_like(data.field)], axis=-1)

        def normal(image: Array) -> Array:
            parts = [data.filter(image[..., part], data.kernel**2) for part in range(2)]
            return jnp.stack(parts, axis=-1) + weights * image

        return conjugate_gradient(
            normal, forth + weights * proposed, max_iterations=self.config.solver_iterations
        )


def from_published(named: PublishedWeights) -> Weights:
    """Read the weights of the authors' PyTorch file (venkateshvaddadi/SpiNet-QSM)."""
    learned = {"strength": named.weights["lambda_val"], "norm": named.weights["p"]}
    return wide_residual.from_published(named) | learned
