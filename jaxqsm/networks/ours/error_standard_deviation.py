"""Standard deviation of the error of a map of χ, by a network."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.block_u_net import CONDITIONING, BlockUNet, conditioning_vector
from jaxqsm.networks.blocks.data_consistency import TYPICAL_FIELD, Measurement, measurement, root_mean_square
from jaxqsm.networks.blocks.layers import (
    depth_to_space,
    pad_to_multiple,
    space_to_depth,
    unpad,
)
from jaxqsm.networks.network import Network, VoxelwiseNormal
from jaxqsm.operators import squared_length
from jaxqsm.variational.admm import total_variation_admm
from jaxqsm.variational.data_terms import absolute, linear
from jaxqsm.variational.edges import edge_weighted_shrink
from jaxqsm.variational.problem import inversion_problem

FIRST_GUESS = 0.15
"""Initial standard deviation over the root mean square of χ."""


@dataclasses.dataclass(frozen=True)
class ErrorStandardDeviationConfig:
    """Size of :class:`ErrorStandardDeviation`.

    Attributes:
        channels: at half resolution; twice as many at a quarter. Default 16.
        slab: voxels along x, a multiple of 4, that the U-Net works on at a time in longer volumes. Default
            128.
    """

    channels: int = 16
    slab: int = 128


class ErrorStandardDeviation(Network):
    """Standard deviation of the error of an estimate of χ, from the estimate, the field and their misfit.

    Its inputs are the residual field of an estimate, its gradient step, and the steepness of χ. The estimates
    of its training are total-variation inversions of all weights, of least squares and least absolute
    misfits, with the magnitude's edges and without. Train it with the loss ``likelihood``, which is least
    where the standard deviation is that of the errors: so it counts noise, what the field does not determine,
    and the bias of regularisation alike, as far as its examples are like the scan.

    Args:
        config: its size.
        rngs: random state.

    References:
        Nix & Weigend 1994, IEEE ICNN 1:55, doi:10.1109/ICNN.1994.374138 (learned variance);
        Zhang et al. 2021, MELBA 1:3, arXiv:2009.04251 (PDI).
    """

    probabilistic: ClassVar[bool] = True

    def __init__(
        self, config: ErrorStandardDeviationConfig = ErrorStandardDeviationConfig(), *, rngs: nnx.Rngs
    ) -> None:
        self.body = BlockUNet(
            8 * 6, 8, width=config.channels, conditioning=CONDITIONING, slab=config.slab // 2, rngs=rngs
        )

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
        start: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """The estimate itself."""
        return self.posterior(local_field, mask, geometry, weights, start).mean

    def posterior(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
        start: Float[Array, "batch x y z"] | None = None,
    ) -> VoxelwiseNormal:
        """Return the estimate, and predict the variance of its error.

        Args:
            local_field: ppm.
            mask: where it is valid.
            geometry: with a leading batch axis on both leaves.
            weights: optional, any unit.
            start: the estimate of χ in ppm. Default: one of those of training.
        """
        start = self.start(local_field, mask, geometry, weights) if start is None else start
        data = jax.vmap(measurement)(local_field, mask, geometry, weights)
        scale = jax.vmap(root_mean_square)(start, mask)[:, None, None, None]
        chi = start / scale
        misfit, pull = jax.vmap(_misfit)(chi, data._replace(field=data.field / scale))
        inside = mask.astype(chi.dtype)
        known_field = data.field * jnp.minimum(data.weights, 1)
        conditioning = jax.vmap(conditioning_vector)(known_field, mask, geometry)
        # Logarithms: misfits of bleeds and of noise differ by orders of magnitude.
        images = (
            chi,
            _signed_log(misfit),
            _signed_log(pull),
            jnp.log1p(_steepness(chi)),
            data.weights,
            inside,
        )
        blocks = space_to_depth(pad_to_multiple(jnp.stack(images, axis=-1), 4))
        logarithm = unpad(depth_to_space(self.body(blocks, conditioning)), mask.shape[1:])[..., 0]
        standard_deviation = FIRST_GUESS * jnp.exp(jnp.clip(logarithm, -6, 6))
        return VoxelwiseNormal(start, (scale * standard_deviation) ** 2)

    def start(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Estimate χ in ppm by a method that is drawn from the field itself, reproducibly."""
        return jax.vmap(_drawn)(local_field, mask, geometry, weights)


def _drawn(field: Array, mask: Array, geometry: Geometry, weights: Array | None) -> Array:
    scale = root_mean_square(field, mask) / TYPICAL_FIELD
    given = inversion_problem(field / scale, mask, geometry, weights)
    bits = jax.lax.bitcast_convert_type(jnp.sum(field * mask).astype(jnp.float32), jnp.uint32)
    keys = jax.random.split(jax.random.key(bits), 3)
    weight = jnp.exp(jax.random.uniform(keys[0], minval=jnp.log(5e-5), maxval=jnp.log(2e-3)))
    edges = jnp.where(jax.random.bernoulli(keys[1]), 0.3, 0.0)
    shrink = edge_weighted_shrink(weights, mask, geometry, given.shape, edges=edges)
    search = partial(total_variation_admm, given, shrink=shrink, tolerance=None, max_iterations=40)
    smooth = search(linear(given.field, given.weights), weight=weight)
    misfit = 0.02
    robust = search(
        absolute(given.field, misfit * given.confidence), weight=100 * misfit * weight, start=smooth
    )
    return scale * given.to_scan_grid(jnp.where(jax.random.bernoulli(keys[2]), robust, smooth))


def _misfit(chi: Float[Array, "x y z"], data: Measurement) -> tuple[Array, Array]:
    misfit = data.weights * (data.field - data.predict(chi))
    return misfit, data.predict(data.weights * misfit)


def _steepness(chi: Float[Array, "batch x y z"]) -> Array:
    x, y, z = (jnp.roll(chi, -1, axis) - chi for axis in (1, 2, 3))
    return jnp.sqrt(squared_length((x, y, z)) + 1e-12)


def _signed_log(values: Array) -> Array:
    return jnp.sign(values) * jnp.log1p(30 * jnp.abs(values))
