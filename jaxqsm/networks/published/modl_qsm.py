"""MoDL-QSM: learned proximal steps on χ along the field and on what the tensor's other parts do."""

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
from jaxqsm.networks.published_weights import PublishedWeights, Weights

KERAS_EPSILON, OURS = 1e-3, 1e-5
"""Added to variances in batch normalisation: by Keras, and here."""

PUBLISHED_STATISTICS = {"chi_std": 0.0261, "field_std": 0.0041}
"""ppm, mean and standard deviation of the authors' training data, which their weights go with."""


@dataclasses.dataclass(frozen=True)
class MoDLQSMConfig:
    """Size and units of :class:`MoDLQSM`. Sizes default to the published ones.

    Attributes:
        iterations: default 3.
        width: channels of the denoiser. Default 32.
        blocks: residual blocks of the denoiser. Default 8.
        dropout: of the denoiser in training. Default 0.5.
        chi_mean, field_mean, chi_std, field_std: ppm; the denoiser works on both images less the means over
            the standard deviations. Defaults 0, 0, 0.04 and 0.005: those of brains, rounded.
    """

    iterations: int = 3
    width: int = 32
    blocks: int = 8
    dropout: float = 0.5
    chi_mean: float = 0.0
    field_mean: float = 0.0
    chi_std: float = 0.04
    field_std: float = 0.005


class MoDLQSM(Network):
    """x ← denoiser(x + step · Aᴴ (field − A x)) with x = (χ₃₃, δ) and A x = Dχ₃₃ + δ; from x = 0.

    In anisotropic tissue the field is that of χ₃₃, the susceptibility along the main field, and a part δ that
    the tensor's other components make.

    Args:
        config: its size.
        rngs: random state.

    References:
        Feng et al. 2021, NeuroImage 240:118376, doi:10.1016/j.neuroimage.2021.118376.
    """

    def __init__(self, config: MoDLQSMConfig = MoDLQSMConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.step = nnx.Param(jnp.full((), 4.0))
        self.denoiser = WideResidual(
            2, width=config.width, blocks=config.blocks, dropout=config.dropout, bias=True, rngs=rngs
        )

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ₃₃ in ppm, zero outside the mask. ``weights`` are not used."""
        config = self.config
        data = jax.vmap(measurement)(local_field, mask, geometry)
        mean = jnp.array([config.chi_mean, config.field_mean])
        scale = jnp.array([config.chi_std, config.field_std])
        inside = mask.astype(local_field.dtype)[..., None]
        images = jnp.zeros((*local_field.shape, 2), local_field.dtype)
        for _ in range(config.iterations):
            images = images + self.step[...] * jax.vmap(_pull)(images, data)
            images = inside * scale * self.denoiser(inside * (images - mean) / scale) + mean
        return inside[..., 0] * images[..., 0]


def _pull(images: Array, data: Measurement) -> Array:
    residual = data.field - data.predict(images[..., 0]) - images[..., 1]
    return jnp.stack([data.predict(residual), residual], axis=-1)


def from_published(named: PublishedWeights) -> Weights:
    """Read the weights of the authors' Keras file (Ruimin-Feng/MoDL-QSM)."""
    enter, *inner, first_point, second_point, leave = named.keras("conv3d", "kernel")
    found = {
        "denoiser.enter.kernel": enter,
        "denoiser.points.0.kernel": first_point,
        "denoiser.points.1.kernel": second_point,
        "denoiser.leave.kernel": leave,
        "denoiser.leave.bias": named.keras("conv3d", "bias")[-1],
        "step": named.keras("my_layer", "step")[0],
    }
    names = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
    norms = {ours: named.keras("batch_normalization", theirs) for ours, theirs in names.items()}
    for place, kernel in enumerate(inner):
        block = f"denoiser.blocks.{place // 2}"
        convolution, norm = ("second", "norm") if place % 2 else ("first.convolution", "first.norm")
        found[f"{block}.{convolution}.kernel"] = kernel
        found |= {f"{block}.{norm}.{ours}": each[place] for ours, each in norms.items()}
        found[f"{block}.{norm}.var"] = found[f"{block}.{norm}.var"] + (KERAS_EPSILON - OURS)
    return found
