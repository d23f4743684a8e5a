"""Unrolled network (MoDL): data consistency and a U-Net in turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.block_u_net import CONDITIONING, BlockUNet, conditioning_vector
from jaxqsm.networks.blocks.data_consistency import (
    TYPICAL_FIELD,
    Measurement,
    closed_form_step,
    measurement,
    root_mean_square,
)
from jaxqsm.networks.blocks.layers import (
    depth_to_space,
    pad_to_multiple,
    space_to_depth,
    unpad,
)
from jaxqsm.networks.network import Network
from jaxqsm.physics import dipole_field
from jaxqsm.tuning import choose_weight
from jaxqsm.tuning.choose_weight import HEAVIER
from jaxqsm.variational.admm import total_variation_admm
from jaxqsm.variational.data_terms import absolute, linear
from jaxqsm.variational.edges import edge_weighted_shrink
from jaxqsm.variational.problem import InversionProblem, inversion_problem

START_WEIGHT = 5e-4
"""ppm · mm at :data:`TYPICAL_FIELD`, of the gradients in the least-squares start, at least: heavier where the
field asks for it. Lighter ones leave noise that the network has not seen."""

ROBUST_WEIGHT = 0.07
"""mm, of the gradients in the least-absolute start, at least."""

ROBUST_MISFIT = 0.02
"""ppm at :data:`TYPICAL_FIELD`, to bring both terms of the robust start to one pace; its solution does not
depend on it."""

START_EDGES = 0.3
"""Part of all differences of the magnitude that count as edges, as published for MEDI."""

START_ITERATIONS = 40
"""Iterations of each start; more change them by less than the network does."""

PACE = 10.0
"""Learned logarithms of strengths are multiplied by it, so that an optimiser moves them at a useful pace."""


@dataclasses.dataclass(frozen=True)
class UnrolledConfig:
    """Size of :class:`Unrolled`.

    Attributes:
        iterations: passes of network and data consistency. Default 1: training takes long, and one that has
            seen three times as many examples is the better one for the same time.
        channels: at half resolution; twice as many at a quarter. Default 32.
        memory: channels that an iteration hands to the next. Default 0, as there is no next.
        shared: one network for all iterations (default), conditioned on which; else one each.
        remat: compute each iteration again in the backward pass, in half the memory. Default false.
        mixed_precision: convolutions in bfloat16, physics in float32; for GPU and TPU. Default false.
        misfit: tell the network how much of the field the start does not explain, and how smooth that is.
            Default false.
        slab: voxels along x, a multiple of 4, that the U-Net works on at a time in longer volumes (those of
            more than it and twice the U-Net's reach of 32); the result is the same. Default 128.
    """

    iterations: int = 1
    channels: int = 32
    memory: int = 0
    shared: bool = True
    remat: bool = False
    mixed_precision: bool = False
    misfit: bool = False
    slab: int = 128

    @property
    def conditioning(self) -> int:
        """Count the numbers that the network knows of a scan."""
        return CONDITIONING + (2 if self.misfit else 0)


class Start(NamedTuple):
    """χ by two classical inversions, which err in different ways.

    Both are of least total variation off the magnitude's edges (:func:`jaxqsm.inversion.medi`). ``smooth``
    trusts all of the field a little, which serves where it is noisy; ``robust`` trusts most of it wholly and
    some not at all (:func:`jaxqsm.inversion.l1_qsm`), which serves where it is clear.

    Their weights follow the scan, by :func:`~jaxqsm.tuning.choose_weight` of ``smooth``, the one that best
    predicts the field, as the network smooths further: measured fields hold errors that no simulation of
    training had. As the error of the field grows, a least-squares weight grows
    with its square, and a least-absolute one in proportion: ``robust`` has the root of the change.
    """

    smooth: Float[Array, "batch x y z"]
    robust: Float[Array, "batch x y z"]


class Unrolled(Network):
    """Local field to χ: two classical inversions, then ``iterations`` × (U-Net changes χ, physics answers).

    It begins at the mean of a :class:`Start`, so what it learns is what the best classical methods get wrong.

    The physics takes each scan as it is: :func:`~jaxqsm.networks.closed_form_step` with the dipole kernel of
    its voxel size and field direction, its mask and its magnitude as weights. So the network learns images
    only, and its conditioning on the geometry (by :class:`~jaxqsm.networks.blocks.layers.Affine`) serves to
    know the size of things and the direction of streaks. Fields are divided by their root mean square first:
    χ twice as strong gives χ twice as strong, exactly, at the same signal-to-noise ratio.

    The network looks at blocks of 2 × 2 × 2 voxels as channels, on two levels; a voxel sees about 60 voxels
    around it an iteration, and by data consistency the whole scan.

    Args:
        config: its size.
        rngs: random state.

    References:
        Aggarwal, Mani & Jacob 2019, IEEE TMI 38:394, doi:10.1109/TMI.2018.2865356 (unrolled iterations with
        data consistency, shared weights); Lai et al. 2020, MICCAI, doi:10.1007/978-3-030-59713-9_13 (LPCNN);
        Adler & Öktem 2018, IEEE TMI 37:1322, doi:10.1109/TMI.2018.2799231 (memory between iterations).
    """

    def __init__(self, config: UnrolledConfig = UnrolledConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        count = 1 if config.shared else config.iterations
        self.images = nnx.List([_Image(config, rngs=rngs) for _ in range(count)])
        # At first the physics leaves the start about as it is. What is learned goes by iteration,
        # and by what is known of the scan: a noisy one wants other strengths than a clear one.
        self.strength = nnx.Param(jnp.full(config.iterations + 1, jnp.log(0.2) / PACE))
        self.rho = nnx.Param(jnp.zeros(config.iterations + 1))
        self.by_scan = nnx.Param(jnp.zeros((config.conditioning, 2)))

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
        start: Start | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero mean in the mask and zero outside it."""
        return self.iterates(local_field, mask, geometry, weights, start)[-1]

    def start(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Start:
        """Compute χ in ppm by two classical inversions."""
        scale = _scale(jax.vmap(measurement)(local_field, mask, geometry, weights), mask)
        field = TYPICAL_FIELD / scale * local_field
        start = jax.vmap(_classical)(field, mask, geometry, weights)
        return jax.tree.map(lambda chi: scale / TYPICAL_FIELD * chi, start)

    def iterates(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
        start: Start | None = None,
    ) -> list[Float[Array, "batch x y z"]]:
        """List χ after every iteration, for losses on all of them."""
        if start is None:
            start = self.start(local_field, mask, geometry, weights)
        data = jax.vmap(measurement)(local_field, mask, geometry, weights)
        scale = _scale(data, mask)
        smooth, robust = start.smooth / scale, start.robust / scale
        first, doubt = (smooth + robust) / 2, (robust - smooth) / 2
        data = data._replace(field=data.field / scale)
        known_field = _trusted(data)
        conditioning = jax.vmap(conditioning_vector)(known_field, mask, geometry)
        if self.config.misfit:
            unexplained = jax.vmap(_unexplained)(data, smooth, mask, geometry)
            conditioning = jnp.concatenate([conditioning, unexplained], axis=-1)
        inside = mask.astype(known_field.dtype)
        by_scan = conditioning @ self.by_scan[...]

        def consistent(chi: Array, number: int) -> Array:
            strength = jnp.exp(PACE * (self.strength[number] + by_scan[:, 0]))
            rho = jnp.exp(PACE * (self.rho[number] + by_scan[:, 1]))

            def one(chi: Array, data: Measurement, strength: Array, rho: Array) -> Array:
                return closed_form_step(chi, data, strength, rho=rho)

            return inside * jax.vmap(one)(chi, data, strength, rho)

        def iterate(state: _State, number: int) -> _State:
            stage = jax.nn.one_hot(jnp.full(len(conditioning), number), self.config.iterations)
            known = jnp.concatenate([conditioning, stage], axis=-1)
            image = self.images[0 if self.config.shared else number]
            change, memory = image.propose(state, (known_field, data.weights, first, doubt), known)
            proposed = inside * (state.chi + change)
            return _State(consistent(proposed, number + 1), proposed, memory)

        # What the physics changes of the start shows the network what the start does not explain.
        state = _State(consistent(first, 0), first, None)
        outcomes = []
        for number in range(self.config.iterations):
            one = jax.checkpoint(iterate, static_argnums=1) if self.config.remat else iterate
            state = one(state, number)
            outcomes.append(state.chi)
        count = jnp.maximum(inside.sum((1, 2, 3), keepdims=True), 1)
        means = [jnp.sum(chi, (1, 2, 3), keepdims=True) / count for chi in outcomes]
        return [scale * inside * (chi - mean) for chi, mean in zip(outcomes, means, strict=True)]


def _classical(
    field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    weights: Float[Array, "x y z"] | None,
) -> Start:
    chosen = choose_weight(_smooth, field, mask, geometry, weights=weights, typical=START_WEIGHT)
    heavier = jnp.maximum(chosen / HEAVIER / START_WEIGHT, 1)
    given, search = _search(field, mask, geometry, weights)
    smooth = search(linear(given.field, given.weights), weight=heavier * START_WEIGHT)
    pull = ROBUST_MISFIT * given.confidence
    robust_weight = jnp.sqrt(heavier) * ROBUST_WEIGHT
    robust = search(absolute(given.field, pull), weight=ROBUST_MISFIT * robust_weight, start=smooth)
    return Start(given.to_scan_grid(smooth), given.to_scan_grid(robust))


def _smooth(
    field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    weights: Float[Array, "x y z"] | None = None,
    weight: Float[Array, ""] | float,
) -> Float[Array, "x y z"]:
    given, search = _search(field, mask, geometry, weights)
    return given.to_scan_grid(search(linear(given.field, given.weights), weight=weight))


def _search(
    field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    weights: Float[Array, "x y z"] | None,
) -> tuple[InversionProblem, Callable[..., Array]]:
    given = inversion_problem(field, mask, geometry, weights)
    shrink = edge_weighted_shrink(weights, mask, geometry, given.shape, edges=START_EDGES)
    search = partial(
        total_variation_admm, given, shrink=shrink, tolerance=None, max_iterations=START_ITERATIONS
    )
    return given, search


class _State(NamedTuple):
    chi: Float[Array, "batch x y z"]
    proposed: Float[Array, "batch x y z"]
    memory: Float[Array, "batch X Y Z m"] | None


class _Image(BlockUNet):
    """Proposes a change of χ, and what to remember of it."""

    def __init__(self, config: UnrolledConfig, *, rngs: nnx.Rngs) -> None:
        self.precision = jnp.bfloat16 if config.mixed_precision else None
        self.memory = config.memory
        super().__init__(
            8 * 6 + config.memory,
            8 + config.memory,
            width=config.channels,
            conditioning=config.conditioning + config.iterations,
            slab=config.slab // 2,
            gain=0.0,
            rngs=rngs,
        )

    def propose(
        self, state: _State, images: tuple[Array, ...], conditioning: Array
    ) -> tuple[Float[Array, "batch x y z"], Float[Array, "batch X Y Z m"]]:
        stack = jnp.stack([state.chi, state.chi - state.proposed, *images], axis=-1)
        blocks = space_to_depth(pad_to_multiple(stack, 4)).astype(self.precision or stack.dtype)
        shape = (*blocks.shape[:4], self.memory)
        memory = jnp.zeros(shape, blocks.dtype) if state.memory is None else state.memory
        out = self(jnp.concatenate([blocks, memory], axis=-1), conditioning)
        change = unpad(depth_to_space(out[..., :8]), stack.shape[1:4])[..., 0]
        return change.astype(stack.dtype), jnp.tanh(out[..., 8:])


def _trusted(data: Measurement) -> Array:
    """The field, less of it where it is uncertain: bleeds and sinuses may hold anything."""
    return data.field * jnp.minimum(data.weights, 1)


def _unexplained(
    data: Measurement, chi: Float[Array, "x y z"], mask: Bool[Array, "x y z"], geometry: Geometry
) -> Float[Array, 2]:
    """Say how much of the field is not that of the start, as a logarithm, and how alike neighbours are there.

    White noise is not; background, shifts of frequency and flow are, and no dipole field of χ is to explain
    them.
    """
    rest = jnp.minimum(data.weights, 1) * (data.field - dipole_field(chi, geometry))
    rest = jnp.where(mask, rest - jnp.sum(rest * mask) / jnp.maximum(mask.sum(), 1), 0)
    products = [jnp.sum(rest * jnp.roll(rest, 1, axis)) for axis in range(3)]
    squares = jnp.maximum(jnp.sum(rest**2), 1e-12)
    return jnp.stack([jnp.log(root_mean_square(rest, mask) + 1e-3), sum(products) / 3 / squares])


def _scale(data: Measurement, mask: Array) -> Array:
    """Root mean square of each field of a batch, (batch, 1, 1, 1)."""
    return jax.vmap(root_mean_square)(_trusted(data), mask)[:, None, None, None]
