"""Examples of a task, made of simulated patches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxqsm.background import ismv, lbv, pdf, resharp, sdf, sharp, v_sharp
from jaxqsm.learning.config import FAULTS, DataConfig, Task
from jaxqsm.learning.examples import Example, ExampleStream, Volume, logarithmic, plain
from jaxqsm.operators import MaskedVolume
from jaxqsm.phantoms.tissues import WHOLE
from jaxqsm.physics import dipole_field, wrap_phase
from jaxqsm.physics.dipole import Kernel
from jaxqsm.simulation import (
    Patch,
    Variety,
    brightness,
    cut_mask,
    distorted,
    field_errors,
    patch_stream,
    registered,
    slice_offsets,
)
from jaxqsm.unwrapping import laplacian
from jaxqsm.variational.common import from_mean, referenced

HIGHEST_NOISE = 0.3
"""ppm. The field of a voxel without signal is noise of the phase's whole circle, no more."""

HIDDEN = 0.06
"""ppm. Iron and myelin of one voxel, as far as their fields cancel, are at most this strong."""

RELAXATION_NOISE = (0.002, 0.02)
"""ppm. Standard deviation of R2′ over the relaxivity."""

SLICE_OFFSET = 0.003
"""ppm. Standard deviation of the offsets of slices, at most."""

DISTORTION = 6.0
"""Voxels per ppm, at most, by which the field displaces along the phase encoding: 3 T at 20 Hz a voxel."""

THRESHOLD = (0.1, 0.5)
"""Parts of the mean magnitude at the last echo below which voxels are left out of a mask."""

BRIGHTNESS = 0.4
"""Strength of edges of its own in the magnitude, at most."""

REMOVALS = (v_sharp, resharp, pdf, lbv, ismv, sdf, sharp)
"""Methods of background removal that examples are made with. Others are variants of these in what they leave:
``residual_resharp``, ``msmv`` and ``harperella``, or leave most of the background: ``polynomial``."""


class SimulatedExamples(ExampleStream):
    """Examples of a task, cut from simulated heads and random bodies.

    A patch is a closed world: its local field is that of the χ within its own mask, on the patch cut out of
    the head. So a network that uses the dipole sees consistent data, as in a whole scan, and needs no
    knowledge of what lies beyond the border. The background's field is that of the whole head.

    Patches have a contrast, residual background and noise of their own.

    Args:
        config: of the data.
        task: what the network is to learn.
        seed: names the stream.
        start: as :class:`ExampleStream` has it.

    Raises:
        ValueError: unknown kinds of sources or faults, or no source.
    """

    def __init__(
        self, config: DataConfig, task: Task, seed: int, start: Callable[..., Any] | None = None
    ) -> None:
        super().__init__(config, seed, start)
        weights = dict(config.sources)
        if not weights or not set(weights) <= {"head", "shapes", "noise"} or sum(weights.values()) <= 0:
            raise ValueError(f"data.sources is {weights}; use parts of head, shapes and noise")
        if unknown := set(config.faults).difference(FAULTS):
            raise ValueError(f"data.faults has {', '.join(sorted(unknown))}; use {', '.join(FAULTS)}")
        self._probability = config.fault_probabilities
        self._task = task
        self._kinds = list(weights)
        self._parts = np.array(list(weights.values())) / sum(weights.values())
        limits: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in config.variety.items()
        }
        shape = (config.shape,) * 3
        self._draw = {
            kind: patch_stream(shape, variety=Variety(**(limits | {"source": kind}))) for kind in weights
        }

    def held_out(self, count: int) -> list[Example]:
        """Make examples of a stream of their own."""
        stream = self.of_others()
        return [stream.batch(number) for number in range(count)]

    def make_patch(self, number: int) -> Example:
        """Simulate the patch of that number."""
        random = np.random.default_rng([self.seed, number, 1])
        kind = self._kinds[random.choice(len(self._kinds), p=self._parts)]
        key = jax.random.fold_in(jax.random.key(self.seed), number)
        patch = jax.tree.map(lambda leaf: leaf[0], self._draw[kind](key))
        part = logarithmic(random, self.config.residual_background) if random.random() < 0.5 else 0.0
        contrast = logarithmic(random, self.config.contrast)
        weighted = random.random() >= self.config.unweighted
        kernel: Kernel = "integrated" if random.random() < self.config.cuboids else "bandlimited"
        key = jax.random.fold_in(key, 1)
        if self._task == "denoising":
            return _noisy(key, patch, contrast, logarithmic(random, self.config.noise))
        if self._task == "unwrapping":
            return _wrapped(key, patch, contrast, weighted)
        if self._task == "separation":
            return _mixed(key, patch, contrast, weighted, logarithmic(random, RELAXATION_NOISE))
        faults = self._faults_of(random)
        example = _example(key, patch, contrast, part, weighted, faults, task=self._task, kernel=kernel)
        if self._task == "inversion" and random.random() < self._probability["background_removal"]:
            method = REMOVALS[random.integers(len(REMOVALS))]
            total = _example(key, patch, contrast, 1.0, weighted, faults, task=self._task, kernel=kernel)
            example = _background_removed(example, total, method)
        return example

    def _faults_of(self, random: np.random.Generator) -> Faults:
        """Draw the faults of one patch."""

        def drawn(name: str, strength: Any) -> Any:
            return strength if random.random() < self._probability[name] else 0 * strength

        return Faults(
            field_error=drawn("field_error", logarithmic(random, self.config.field_error)),
            shift=drawn("registration", random.uniform(0, 1, 3).astype(np.float32)),
            slices=drawn("slices", np.float32(random.uniform(0, SLICE_OFFSET))),
            distortion=drawn("distortion", np.float32(random.uniform(-DISTORTION, DISTORTION))),
            threshold=drawn("cut_mask", np.float32(random.uniform(*THRESHOLD))),
            brightness=drawn("brightness", np.float32(random.uniform(0, BRIGHTNESS))),
        )


class Faults(NamedTuple):
    """Strengths of the faults of one example; 0 for none.

    Attributes:
        field_error: ppm, as :func:`~jaxqsm.simulation.field_errors` draws them.
        shift: voxels along each axis, for :func:`~jaxqsm.simulation.registered`.
        slices: ppm, standard deviation of :func:`~jaxqsm.simulation.slice_offsets`.
        distortion: voxels per ppm of the total field, for :func:`~jaxqsm.simulation.distorted`.
        threshold: part of the mean magnitude at the last echo, for :func:`~jaxqsm.simulation.cut_mask`.
        brightness: for :func:`~jaxqsm.simulation.brightness`.
    """

    field_error: Volume
    shift: Volume
    slices: Volume
    distortion: Volume
    threshold: Volume
    brightness: Volume


@partial(jax.jit, static_argnames=("task", "kernel"))
def _example(
    key: PRNGKeyArray,
    patch: Patch,
    contrast: Volume,
    part: Volume,
    weighted: Volume,
    faults: Faults,
    *,
    task: Task,
    kernel: Kernel,
) -> Example:
    of_noise, of_errors, of_slices, of_brightness = jax.random.split(key, 4)
    mask, geometry = cut_mask(patch.mask, patch.magnitude[..., -1], faults.threshold), patch.geometry
    chi = contrast * patch.chi * mask
    local = dipole_field(chi, geometry, kernel=kernel) * mask + contrast * patch.shift * mask
    # Only a local field is without most of its background.
    residual_background = part if task == "inversion" else contrast
    background = residual_background * (patch.total_field - patch.local_field - patch.shift) * mask
    noise = _field_noise(patch) * jax.random.normal(of_noise, mask.shape) * mask
    noise = noise + field_errors(chi, mask, geometry, standard_deviation=faults.field_error, key=of_errors)
    noise = noise + slice_offsets(mask, standard_deviation=faults.slices, key=of_slices)
    magnitude = jnp.sqrt(jnp.sum(patch.magnitude**2, axis=-1))
    magnitude = magnitude * brightness(mask, geometry, strength=faults.brightness, key=of_brightness)
    example = Example(
        field=registered(local + background + noise, mask, faults.shift),
        target=local if task == "background" else chi,
        mask=mask,
        weights=jnp.where(weighted, magnitude, 1) * mask,
        geometry=plain(geometry),
    )
    return _distorted(example, faults.distortion * from_mean(contrast * patch.total_field, mask))


def _distorted(example: Example, displacement: Volume) -> Example:
    """The example as a slow readout shows it, all of its images displaced alike."""
    shown = partial(distorted, displacement=displacement)
    mask = shown(example.mask.astype(displacement.dtype)) > WHOLE
    field, target, weights = (shown(v) * mask for v in (example.field, example.target, example.weights))
    return example._replace(field=field, target=target, mask=mask, weights=weights)


@partial(jax.jit, static_argnames="method")
def _background_removed(example: Example, total: Example, method: Callable[..., MaskedVolume]) -> Example:
    """The example with the local field that a method makes of its total field."""
    local, mask = method(total.field, total.mask, total.geometry)
    left = mask.any()  # of little brain some methods leave no voxel
    mask = jnp.where(left, mask, example.mask)
    return example._replace(
        field=jnp.where(left, local, example.field) * mask,
        target=example.target * mask,
        mask=mask,
        weights=example.weights * mask,
    )


@jax.jit
def _noisy(key: PRNGKeyArray, patch: Patch, contrast: Volume, noise: Volume) -> Example:
    chi = referenced(contrast * patch.chi, patch.mask)
    return Example(
        field=(chi + noise * jax.random.normal(key, chi.shape)) * patch.mask,
        target=chi,
        mask=patch.mask,
        weights=patch.mask / noise,
        geometry=plain(patch.geometry),
    )


@jax.jit
def _wrapped(key: PRNGKeyArray, patch: Patch, contrast: Volume, weighted: Volume) -> Example:
    """Wrapped phase of the last echo; the true phase's constant is that of least squares."""
    mask, geometry = patch.mask, plain(patch.geometry)
    of_noise, of_offset = jax.random.split(key)
    magnitude = patch.magnitude[..., -1]
    noise = 1 / (patch.snr * jnp.maximum(magnitude, 1e-6))
    true = contrast * patch.total_field * patch.acquisition.phase_per_ppm[-1]
    true = true + jax.random.uniform(of_offset, maxval=2 * jnp.pi)
    noisy = true + jnp.minimum(noise, jnp.pi) * jax.random.normal(of_noise, true.shape)
    wrapped = wrap_phase(noisy) * mask
    away = (laplacian(wrapped, mask, geometry) - true) * mask
    turns = jnp.round(jnp.sum(away) / jnp.maximum(mask.sum(), 1) / (2 * jnp.pi))
    return Example(
        field=wrapped,
        target=(true + 2 * jnp.pi * turns) * mask,
        mask=mask,
        weights=jnp.where(weighted, magnitude, 1) * mask,
        geometry=geometry,
    )


@jax.jit
def _mixed(key: PRNGKeyArray, patch: Patch, contrast: Volume, weighted: Volume, noise: Volume) -> Example:
    """χ of a head as the excess of either source, and more of both, the same, by tissue and place.

    How much goes by the brightness of the tissue, up or down as chance has it, times a slow random field:
    neither χ nor the field tells of it.
    """
    mask, geometry = patch.mask, plain(patch.geometry)
    of_gain, of_place, of_field, of_relaxation = jax.random.split(key, 4)
    chi = contrast * patch.chi * mask
    magnitude = jnp.sqrt(jnp.sum(patch.magnitude**2, axis=-1))
    first = patch.magnitude[..., 0] * mask
    mean = jnp.sum(first) / jnp.maximum(mask.sum(), 1)
    gain, level = jax.random.uniform(of_gain, (2,), minval=-1.0)
    coarse = jax.random.normal(of_place, (4, 4, 4))
    slow = jax.image.resize(coarse, mask.shape, "cubic")
    hidden = HIDDEN * jax.nn.sigmoid(6 * gain * (first / jnp.maximum(mean, 1e-6) - 1) + level + slow)
    positive, negative = (jnp.maximum(sign * chi, 0) + hidden * mask for sign in (1, -1))
    field = dipole_field(chi, patch.geometry) + _field_noise(patch) * jax.random.normal(of_field, mask.shape)
    together = positive + negative + noise * jax.random.normal(of_relaxation, mask.shape)
    return Example(
        field=field * mask,
        target=jnp.stack([positive, -negative], axis=-1),
        mask=mask,
        weights=jnp.where(weighted, magnitude, 1) * mask,
        geometry=geometry,
        start=jnp.maximum(together, 0) * mask,
    )


def _field_noise(patch: Patch) -> Volume:
    """ppm, of a weighted fit of the phase over echoes in every voxel."""
    precision = jnp.sqrt(jnp.sum((patch.magnitude * patch.acquisition.phase_per_ppm) ** 2, axis=-1))
    return jnp.minimum(1 / (patch.snr * jnp.maximum(precision, 1e-6)), HIGHEST_NOISE)
