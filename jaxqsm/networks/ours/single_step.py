"""A single step from total field to χ: a classical one, and what it gets wrong."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.block_u_net import CONDITIONING, BlockUNet, conditioning_vector
from jaxqsm.networks.blocks.data_consistency import root_mean_square
from jaxqsm.networks.blocks.layers import (
    depth_to_space,
    pad_to_multiple,
    space_to_depth,
    unpad,
)
from jaxqsm.networks.network import Network
from jaxqsm.operators import crop, erode, irfftn, rfftn
from jaxqsm.single_step import ss_tv
from jaxqsm.single_step.ss_tv import RADII
from jaxqsm.tuning import choose_weight
from jaxqsm.variational.common import data_weights, from_mean, referenced
from jaxqsm.variational.problem import (
    InversionProblem,
    inversion_problem,
    smv_filtered_by_radii,
)

TYPICAL_FILTERED_FIELD = 0.01
"""Root mean square of the SMV-filtered field that fields are scaled to for the start, ppm."""

START_WEIGHT = 5e-4
"""Weight of total variation, ppm · mm, for a filtered field of the typical strength: the search for a scan's
own begins near it, and where there are too few voxels for a search it stands."""

START_ITERATIONS = 40
"""More change the start by less than the network does."""

LONGEST = 2.0
"""Upper bound of the gradient step; below 2 / (2/3)² none diverges by much."""

PACE = 10.0
"""Learned lengths are multiplied by it, so that an optimiser moves them at a useful pace."""


@dataclasses.dataclass(frozen=True)
class SingleStepConfig:
    """Size of :class:`SingleStep`.

    Attributes:
        channels: at half resolution; twice as many at a quarter. Default 32.
        steps: down the misfit, after the U-Net. Default 3.
        slab: voxels along x, a multiple of 4, that the U-Net works on at a time in longer volumes. Default
            128.
    """

    channels: int = 32
    steps: int = 3
    slab: int = 128


class SingleStep(Network):
    """Total field to χ: a classical single step, a U-Net that corrects it, and data consistency.

    The physics is that of :func:`jaxqsm.single_step.ss_tv`, with the SMV-filtered dipole kernel of the scan,
    which no background passes: so the last steps pull χ to the measured field and not to the background's.
    Fields are divided by their root mean square behind the filters first: χ and background twice as strong
    give χ twice as strong.

    It corrects χ where the smallest SMV kernel fits into the mask (:meth:`valid`), and is trained there
    alone: asked for χ along the border as well, where there is no measurement, it learned little but the
    border. There χ stays that of the classical single step.

    Args:
        config: its size.
        rngs: random state.

    References:
        Chatnuntawech et al. 2017, NMR Biomed 30:e3570, doi:10.1002/nbm.3570 (single step);
        Hammernik et al. 2018, MRM 79:3055, doi:10.1002/mrm.26977 (learned steps down the misfit).
    """

    def __init__(self, config: SingleStepConfig = SingleStepConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.body = BlockUNet(
            8 * 6, 8, width=config.channels, conditioning=CONDITIONING, slab=config.slab // 2, rngs=rngs
        )
        # What is learned goes by what is known of the scan: a noisy one wants shorter steps than a clear one.
        self.length = nnx.Param(jnp.zeros(config.steps))
        self.by_scan = nnx.Param(jnp.zeros(CONDITIONING))

    def __call__(
        self,
        total_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
        start: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero mean where it is valid and zero outside the mask."""
        start = self.start(total_field, mask, geometry, weights) if start is None else start
        data = jax.vmap(_behind)(total_field, mask, geometry, weights)
        local = jax.vmap(_shown)(data)
        scale = jax.vmap(root_mean_square)(local, mask)[:, None, None, None]
        data = data._replace(field=data.field / scale[:, None])
        valid = self.valid(mask, geometry)
        everywhere = jax.vmap(from_mean)(start / scale, valid)
        first = everywhere * valid
        known = jnp.minimum(jax.vmap(data_weights)(mask, weights), 1)
        unexplained, pull = jax.vmap(_misfit)(first, data)
        inside = valid.astype(first.dtype)
        conditioning = jax.vmap(conditioning_vector)(local / scale, mask, geometry)
        fields = (_squashed(v) for v in (first, local / scale, unexplained, pull))
        images = jnp.stack([*fields, known, inside], axis=-1)
        blocks = space_to_depth(pad_to_multiple(images, 4))
        change = unpad(depth_to_space(self.body(blocks, conditioning)), mask.shape[1:])[..., 0]
        chi = inside * (first + change)
        for step in range(self.config.steps):
            length = jax.nn.sigmoid(PACE * (self.length[step] + conditioning @ self.by_scan[...]))
            _, pull = jax.vmap(_misfit)(chi, data)
            chi = chi + inside * LONGEST * length[:, None, None, None] * pull
        rim = everywhere * (mask & ~valid)
        return scale * (jax.vmap(referenced)(chi, valid) + rim)

    def valid(self, mask: Bool[Array, "batch x y z"], geometry: Geometry) -> Bool[Array, "batch x y z"]:
        """Erode the mask by the smallest SMV kernel."""
        return jax.vmap(lambda m, g: erode(m, RADII[-1], g))(mask, geometry)

    def start(
        self,
        total_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Compute the classical χ in ppm by single-step total variation, its weight chosen from the scan."""

        def one(field: Array, mask: Array, geometry: Geometry, weights: Array | None) -> Array:
            shown = _shown(_behind(field, mask, geometry, weights))
            scale = root_mean_square(shown, mask) / TYPICAL_FILTERED_FIELD
            scan = field / scale, mask, geometry
            weight = choose_weight(ss_tv, *scan, weights=weights, magnitude=weights, typical=START_WEIGHT)
            chi, _ = ss_tv(
                *scan,
                magnitude=weights,
                weight=weight,
                radii=RADII,
                tolerance=0.0,
                max_iterations=START_ITERATIONS,
            )
            return scale * chi

        return jax.vmap(one)(total_field, mask, geometry, weights)


def _behind(field: Array, mask: Array, geometry: Geometry, weights: Array | None) -> InversionProblem:
    given = smv_filtered_by_radii(inversion_problem(field, mask, geometry, weights), RADII)
    # No weight above 1, so that a step of the same length is stable for any scan.
    return given._replace(weights=jnp.minimum(given.weights, 1))


def _shown(given: InversionProblem) -> Float[Array, "x y z"]:
    """Weighted SMV-filtered field as one image."""
    field = jnp.sum(given.field * given.confidence, axis=0)
    return crop(field, given.mask.shape)


def _squashed(values: Array) -> Array:
    """Near the border of the mask and in bleeds fields are a hundred times as strong as elsewhere."""
    return jnp.sign(values) * jnp.log1p(jnp.abs(values))


def _predict(chi: Float[Array, "x y z"], given: InversionProblem) -> Float[Array, "ball X Y Z"]:
    spectrum = rfftn(chi, given.shape)
    return irfftn(spectrum * given.kernel, given.shape)


def _adjoint(fields: Float[Array, "ball X Y Z"], given: InversionProblem, shape: tuple[int, ...]) -> Array:
    spectrum = jnp.sum(given.kernel * rfftn(fields), axis=0)
    return irfftn(spectrum, given.shape, shape)


def _misfit(chi: Float[Array, "x y z"], given: InversionProblem) -> tuple[Array, Array]:
    """SMV-filtered residual as one image, and the gradient step of χ that it gives."""
    rest = given.field - _predict(chi, given)
    shown = jnp.sum(rest * given.confidence, axis=0)
    return crop(shown, chi.shape), _adjoint(given.weights * rest, given, chi.shape)
