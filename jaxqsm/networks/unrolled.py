"""The network we recommend: a learned iteration between the physics of the scan and a learned image."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.inversion import tv
from jaxqsm.networks.data_consistency import Measurement, closed_form_step, measurement
from jaxqsm.networks.layers import (
    Affine,
    Convolution,
    depth_to_space,
    pad_to_multiple,
    space_to_depth,
    unpad,
)
from jaxqsm.networks.slabs import by_slabs

NUMBERS = 10
"""What the network is told of a scan besides images, see :func:`describe`."""

TYPICAL_FIELD = 0.02
"""ppm, root mean square: fields are brought to it for the start, as the solver's steps suit such fields."""

START_WEIGHT = 2.5e-4
"""ppm · mm at :data:`TYPICAL_FIELD`. On 16 patches of many voxel sizes, noises and strengths it costs 0.6 %
of NRMSE over the best weight for each."""

START_ITERATIONS = 40
"""Bound on the start's iterations; more change it by less than the network does."""

REACH = 16
"""Blocks of 2 voxels by which the U-Net looks beyond one, at most."""

PACE = 10.0
"""Learned logarithms of strengths are multiplied by it, so that an optimiser moves them at a useful pace."""


@dataclasses.dataclass(frozen=True)
class UnrolledConfig:
    """Size of :class:`Unrolled`.

    Attributes:
        iterations: passes of network and data consistency. Default 1: training takes long, and one that has
            seen three times as many examples is the better one for the same time.
        channels: at half resolution; twice as many at a quarter. Default 32.
        memory: channels that an iteration hands to the next. Default 16.
        shared: one network for all iterations (default), told which one it is; else one each.
        remat: compute each iteration again in the backward pass, in half the memory. Default false.
        mixed_precision: convolutions in bfloat16, physics in float32; for GPU and TPU. Default false.
        slab: voxels along x, a multiple of 4, that the U-Net works on at a time in longer volumes (those of
            more than it and twice the U-Net's reach of 32); the result is the same. Default 128.
    """

    iterations: int = 1
    channels: int = 32
    memory: int = 16
    shared: bool = True
    remat: bool = False
    mixed_precision: bool = False
    slab: int = 128


class Unrolled(nnx.Module):
    """Local field to χ: from total variation, ``iterations`` × (a U-Net changes χ; the physics answers).

    It starts from :func:`jaxqsm.inversion.tv`, so what it learns is what total variation gets wrong.

    The physics takes each scan as it is: :func:`~jaxqsm.networks.closed_form_step` with the dipole kernel of
    its voxel size and field direction, its mask and its magnitude as weights. So the network learns images
    only, and what it is told of the geometry (by :class:`~jaxqsm.networks.layers.Affine`) serves to know the
    size of things and the direction of streaks. Fields are divided by their root mean square first: χ twice
    as strong gives χ twice as strong, exactly, at the same signal-to-noise ratio.

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
        # At first the physics leaves total variation about as it is. What is learned goes by iteration,
        # and by what is known of the scan: a noisy one wants other strengths than a clear one.
        self.strength = nnx.Param(jnp.full(config.iterations + 1, jnp.log(0.2) / PACE))
        self.tightness = nnx.Param(jnp.zeros(config.iterations + 1))
        self.by_scan = nnx.Param(jnp.zeros((NUMBERS, 2)))

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        magnitude: Float[Array, "batch x y z"] | None = None,
        start: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """χ in ppm, zero mean in the mask and zero outside it.

        Args:
            local_field: ppm.
            mask: where it is valid.
            geometry: with a leading batch axis on both leaves.
            magnitude: optional, any unit.
            start: χ of :meth:`start` for the same arguments, if you have it already.
        """
        return self.iterates(local_field, mask, geometry, magnitude, start)[-1]

    @staticmethod
    def start(
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        magnitude: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """χ in ppm by total variation, where the network begins: needs no weights."""
        scale = _scale(jax.vmap(measurement)(local_field, mask, geometry, magnitude), mask)

        def one(field: Array, mask: Array, geometry: Geometry, magnitude: Array | None) -> Array:
            return tv(
                field,
                mask,
                geometry,
                magnitude=magnitude,
                weight=START_WEIGHT,
                max_iterations=START_ITERATIONS,
            )

        chi = jax.vmap(one)(TYPICAL_FIELD / scale * local_field, mask, geometry, magnitude)
        return scale / TYPICAL_FIELD * chi

    def iterates(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        magnitude: Float[Array, "batch x y z"] | None = None,
        start: Float[Array, "batch x y z"] | None = None,
    ) -> list[Float[Array, "batch x y z"]]:
        """χ after every iteration, for losses that look at all of them."""
        if start is None:
            start = self.start(local_field, mask, geometry, magnitude)
        data = jax.vmap(measurement)(local_field, mask, geometry, magnitude)
        scale = _scale(data, mask)
        start, data = start / scale, data._replace(field=data.field / scale)
        trusted = _trusted(data)
        numbers = jax.vmap(describe)(trusted, mask, geometry)
        inside = mask.astype(trusted.dtype)
        by_scan = numbers @ self.by_scan[...]

        def consistent(chi: Array, number: int) -> Array:
            strength = jnp.exp(PACE * (self.strength[number] + by_scan[:, 0]))
            tightness = jnp.exp(PACE * (self.tightness[number] + by_scan[:, 1]))

            def one(chi: Array, data: Measurement, strength: Array, tightness: Array) -> Array:
                return closed_form_step(chi, data, strength, tightness=tightness)

            return inside * jax.vmap(one)(chi, data, strength, tightness)

        def iterate(state: _State, number: int) -> _State:
            stage = jax.nn.one_hot(jnp.full(len(numbers), number), self.config.iterations)
            known = jnp.concatenate([numbers, stage], axis=-1)
            image = self.images[0 if self.config.shared else number]
            change, memory = image(state, (trusted, data.weights, start), known)
            proposed = inside * (state.chi + change)
            return _State(consistent(proposed, number + 1), proposed, memory)

        # What the physics changes of the start shows the network what the start does not explain.
        state = _State(consistent(start, 0), start, None)
        outcomes = []
        for number in range(self.config.iterations):
            one = jax.checkpoint(iterate, static_argnums=1) if self.config.remat else iterate
            state = one(state, number)
            outcomes.append(state.chi)
        count = jnp.maximum(inside.sum((1, 2, 3), keepdims=True), 1)
        means = [jnp.sum(chi, (1, 2, 3), keepdims=True) / count for chi in outcomes]
        return [scale * inside * (chi - mean) for chi, mean in zip(outcomes, means, strict=True)]


class _State(NamedTuple):
    chi: Float[Array, "batch x y z"]
    proposed: Float[Array, "batch x y z"]
    memory: Float[Array, "batch X Y Z m"] | None


class _Image(nnx.Module):
    """U-Net of two levels at half resolution; proposes a change of χ and what to remember."""

    def __init__(self, config: UnrolledConfig, *, rngs: nnx.Rngs) -> None:
        wide, deep, numbers = config.channels, 2 * config.channels, NUMBERS + config.iterations
        self.precision = jnp.bfloat16 if config.mixed_precision else None
        self.memory = config.memory
        self.slab = config.slab // 2
        self.enter = Convolution(8 * 5 + config.memory, wide, rngs=rngs)
        self.first = _Block(wide, numbers, rngs=rngs)
        self.down = Convolution(8 * wide, deep, size=1, rngs=rngs)
        self.low = nnx.List([_Block(deep, numbers, rngs=rngs) for _ in range(2)])
        self.up = Convolution(deep, 8 * wide, size=1, rngs=rngs)
        self.last = _Block(wide, numbers, rngs=rngs)
        self.leave = Convolution(wide, 8 + config.memory, gain=0.1, rngs=rngs)

    def __call__(
        self, state: _State, images: tuple[Array, ...], numbers: Array
    ) -> tuple[Float[Array, "batch x y z"], Float[Array, "batch X Y Z m"]]:
        stack = jnp.stack([state.chi, state.chi - state.proposed, *images], axis=-1)
        blocks = space_to_depth(pad_to_multiple(stack, 4)).astype(self.precision or stack.dtype)
        shape = (*blocks.shape[:4], self.memory)
        memory = jnp.zeros(shape, blocks.dtype) if state.memory is None else state.memory
        blocks = jnp.concatenate([blocks, memory], axis=-1)
        out = by_slabs(
            lambda part: self.u_net(part, numbers), blocks, length=self.slab, halo=REACH, multiple=2
        )
        change = unpad(depth_to_space(out[..., :8]), stack.shape[1:4])[..., 0]
        return change.astype(stack.dtype), jnp.tanh(out[..., 8:])

    def u_net(self, blocks: Array, numbers: Array) -> Array:
        """From blocks of voxels to what is proposed and remembered there."""
        wide = self.first(self.enter(blocks), numbers)
        deep = self.down(space_to_depth(wide))
        for block in self.low:
            deep = block(deep, numbers)
        wide = self.last(wide + depth_to_space(self.up(deep)), numbers)
        return self.leave(jax.nn.silu(wide))


class _Block(nnx.Module):
    """Residual block; the numbers of the scan act on what lies between its two convolutions."""

    def __init__(self, channels: int, numbers: int, *, rngs: nnx.Rngs) -> None:
        self.first = Convolution(channels, channels, rngs=rngs)
        self.condition = Affine(numbers, channels)
        self.second = Convolution(channels, channels, gain=0.3, rngs=rngs)

    def __call__(self, images: Array, numbers: Array) -> Array:
        inner = self.condition(self.first(jax.nn.silu(images)), numbers)
        return images + self.second(jax.nn.silu(inner))


def describe(
    field: Float[Array, "x y z"], mask: Bool[Array, "x y z"], geometry: Geometry
) -> Float[Array, " number"]:
    """Ten numbers of order 1: logarithms of the voxel's edges and of the noise, and the field direction.

    The direction enters by its six products, as a field and its opposite are alike. The noise is the mean
    size of second differences over the field's root mean square.
    """
    b = geometry.unit_b0_dir
    products = jnp.stack([b[i] * b[j] for i in range(3) for j in range(i, 3)])
    roughness = jnp.zeros(())
    for axis in range(3):
        difference = jnp.roll(field, 1, axis) + jnp.roll(field, -1, axis) - 2 * field
        known = mask & jnp.roll(mask, 1, axis) & jnp.roll(mask, -1, axis)
        mean = jnp.sum(jnp.abs(difference) * known) / jnp.maximum(known.sum(), 1)
        roughness = roughness + jnp.log(mean / _root_mean_square(field, mask) + 1e-3) / 3
    return jnp.concatenate([jnp.log(geometry.voxel_size), products, roughness[None]])


def _trusted(data: Measurement) -> Array:
    """The field, less of it where it is uncertain: bleeds and sinuses may hold anything."""
    return data.field * jnp.minimum(data.weights, 1)


def _scale(data: Measurement, mask: Array) -> Array:
    """Root mean square of each field of a batch, (batch, 1, 1, 1)."""
    return jax.vmap(_root_mean_square)(_trusted(data), mask)[:, None, None, None]


def _root_mean_square(field: Array, mask: Array) -> Array:
    mean_square = jnp.sum((field * mask) ** 2) / jnp.maximum(mask.sum(), 1)
    return jnp.sqrt(jnp.where(mean_square > 0, mean_square, 1))
