"""An endless stream of small simulated scans with their truth, for training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.operators import erode, fast_shape
from jaxqsm.phantoms.random_shapes import random_field, random_shapes
from jaxqsm.phantoms.subject import Subject, fibre_directions, random_subject, sample
from jaxqsm.phantoms.template import Template, template
from jaxqsm.phantoms.tissues import WHOLE
from jaxqsm.physics import (
    add_complex_noise,
    dipole_convolve,
    dipole_kernel,
    gre_signal,
    spoiled_gre_amplitude,
)
from jaxqsm.simulation.acquisition import (
    bipolar_phase,
    combine,
    random_coil_phase,
    reduce,
    sampling_matrix,
)
from jaxqsm.simulation.far_field import Box, evaluate, far_field
from jaxqsm.simulation.frequency_shifts import ShiftStrengths, frequency_shifts

MARGIN = 8
"""Voxels about a patch in which sources are as fine as within it; beyond, they are 5 mm cells."""


@dataclasses.dataclass(frozen=True)
class Variety:
    """Ranges that a stream of patches is drawn from; pairs are bounds of uniform distributions.

    Attributes:
        source: ``"head"`` (random heads), ``"shapes"`` (random bodies in place of tissue) or ``"noise"``
            (band-limited noise in its place). Default ``"head"``.
        voxel_size: mm, shortest edge; drawn evenly in its logarithm. Default 0.5 … 2.
        anisotropy: longest edge over shortest, along one random axis. Default 1 … 2.5.
        longest_voxel: mm; no edge is above it. Default 3.
        tilt: degrees between the field and the third axis; default 0 … 90, mostly small.
        field_strength: tesla; default 1.5 … 9.4, drawn evenly in its logarithm.
        snr: mean magnitude of the first echo in the mask over noise, evenly in its logarithm.
            Default 30 … 200.
        echoes: number of echoes; default 4.
        first_echo: s at 3 T, scaled inversely with the field as other times are; default 0.003 … 0.008.
        last_echo: s at 3 T; default 0.015 … 0.040.
        contrast: factor on the χ of all tissue within the skull; evenly in its logarithm. Default 0.5 … 2.
        texture: factor on the variation of χ within tissues; evenly in its logarithm. Default 1.
        pathology: probability of each lesion. Default 0.15.
        vein_trees: number of them; default 2.
        erosion: mm taken off the mask, up to 7 voxels; default 0 … 5.
        whole: probability that a patch lies about the middle of the brain, which it holds whole where it is
            long enough (200 mm), and not about any place in it. Default 0.
        bipolar: probability of a bipolar readout; default 0.3.
        partial_fourier: probability that k-space is measured in part, 6/8 to 7/8; default 0.2.
        interpolated: probability that k-space is measured to 0.6 … 1 of what the voxels resolve, another part
            for each axis, and filled with zeros: smooth fields with ringing. Default 0.3.
        microstructure: ppm, shift of fibres across the field, downwards
            (:class:`~jaxqsm.simulation.ShiftStrengths`). Default 0 … 0.02.
        exchange: ppm, offset of white matter. Default −0.01 … 0.01.
        fibre_anisotropy: ppm, by which χ along fibres exceeds χ across them. Default 0 … 0.02.
        flow: ppm, shift in veins. Default −0.03 … 0.03.
        deformation: mm, standard deviation of the displacement along an axis. Default 2 … 6.
        sulci: probability of sulci at random besides the template's. Default 0.3.
        atrophy: 0 for the template's ventricles and sulci, 1 for wide ones. Default 0 … 1.
        likeness: correlation of the texture of signal and relaxation with that of χ. Default −1 … 1.
        shim_error: part of the shim that is amiss, either sign; default 0.1.
        oversampling: samples a voxel and axis that the signal is formed at. 1 (default, light) forms it at
            voxel centres; 2 makes dephasing within voxels and Gibbs ringing real, at eight times the cost.
    """

    source: Literal["head", "shapes", "noise"] = "head"
    voxel_size: tuple[float, float] = (0.5, 2.0)
    anisotropy: tuple[float, float] = (1.0, 2.5)
    longest_voxel: float = 3.0
    tilt: tuple[float, float] = (0.0, 90.0)
    field_strength: tuple[float, float] = (1.5, 9.4)
    snr: tuple[float, float] = (30.0, 200.0)
    echoes: int = 4
    first_echo: tuple[float, float] = (0.003, 0.008)
    last_echo: tuple[float, float] = (0.015, 0.040)
    contrast: tuple[float, float] = (0.5, 2.0)
    texture: tuple[float, float] = (1.0, 1.0)
    pathology: float = 0.15
    vein_trees: int = 2
    erosion: tuple[float, float] = (0.0, 5.0)
    whole: float = 0.0
    bipolar: float = 0.3
    partial_fourier: float = 0.2
    interpolated: float = 0.3
    microstructure: tuple[float, float] = (0.0, 0.02)
    exchange: tuple[float, float] = (-0.01, 0.01)
    fibre_anisotropy: tuple[float, float] = (0.0, 0.02)
    flow: tuple[float, float] = (-0.03, 0.03)
    deformation: tuple[float, float] = (2.0, 6.0)
    sulci: float = 0.3
    atrophy: tuple[float, float] = (0.0, 1.0)
    likeness: tuple[float, float] = (-1.0, 1.0)
    shim_error: float = 0.1
    oversampling: int = 1


class Patch(NamedTuple):
    """A simulated scan of a small box and its truth; a batch has a leading axis on every leaf.

    Attributes:
        phase: wrapped, rad, ``(x, y, z, echo)``.
        magnitude: ``(x, y, z, echo)``; mean 1 in the mask at the first echo.
        total_field: ppm, shimmed, without noise: ``local_field``, that of sources outside, and ``shift``.
        local_field: ppm: that of χ within the mask, on the patch and beyond it.
        shift: ppm that the phase says besides: :func:`frequency_shifts`, and what finite k-space does.
        chi: ppm.
        mask: where there is brain.
        geometry: voxel size and field direction.
        acquisition: echo times and field strength.
        snr: mean magnitude at the first echo over the noise of one channel.
    """

    phase: Float[Array, "x y z echo"]
    magnitude: Float[Array, "x y z echo"]
    total_field: Float[Array, "x y z"]
    local_field: Float[Array, "x y z"]
    shift: Float[Array, "x y z"]
    chi: Float[Array, "x y z"]
    mask: Bool[Array, "x y z"]
    geometry: Geometry
    acquisition: Acquisition
    snr: Float[Array, ""]


class Setting(NamedTuple):
    """Parameters of a patch, drawn before any volume is made."""

    subject: Subject
    origin: Float[Array, 3]
    geometry: Geometry
    acquisition: Acquisition
    snr: Float[Array, ""]
    erosion: Float[Array, ""]
    contrast: Float[Array, ""]
    partial_fourier: Float[Array, ""]
    resolution: Float[Array, 3]
    shifts: ShiftStrengths
    bipolar: Float[Array, 2]
    shim_error: Float[Array, 9]
    key: PRNGKeyArray


def patch_stream(
    shape: tuple[int, int, int] = (64, 64, 64),
    *,
    batch_size: int = 1,
    variety: Variety = Variety(),
) -> Callable[[PRNGKeyArray], Patch]:
    """Make a function from a random key to one batch of patches.

    Every patch is cut from a head of its own, by default anywhere in its brain, at a voxel size, tilt, field
    and noise of its own. Sources within 8 voxels of the patch are as fine as its voxels; the rest of the
    head is made of 5 mm cells, whose field is smooth in the patch: each is convolved in free space.

    Args:
        shape: of a patch. One compilation a shape, batch size and variety (about 20 s).
        batch_size: patches a call. They are made one after another, so memory is that of one.
        variety: what to draw from.

    Returns:
        ``draw(key) -> Patch``, jitted, all leaves with a leading batch axis.

    Example:
        >>> draw = patch_stream((16, 16, 16), batch_size=2)
        >>> draw(jax.random.key(0)).chi.shape
        (2, 16, 16, 16)
    """
    head = template()

    def draw(key: PRNGKeyArray) -> Patch:
        # Two programs: within one, XLA computes a subject's numbers again for every voxel.
        settings = _settings(jax.random.split(key, batch_size), head, shape, variety)
        return _render(settings, head, shape, variety)

    return draw


@partial(jax.jit, static_argnames=("shape", "variety"))
def _settings(keys: PRNGKeyArray, head: Template, shape: tuple[int, int, int], variety: Variety) -> Setting:
    return jax.vmap(lambda key: _setting(key, head, shape, variety))(keys)


@partial(jax.jit, static_argnames=("shape", "variety"))
def _render(settings: Setting, head: Template, shape: tuple[int, int, int], variety: Variety) -> Patch:
    return jax.lax.map(lambda setting: _patch(setting, head, shape, variety), settings)


def _setting(key: PRNGKeyArray, head: Template, shape: tuple[int, int, int], variety: Variety) -> Setting:
    keys = iter(jax.random.split(key, 20))

    # Keys of their own, so that what was drawn before these faults were there is drawn still.
    others = iter(jax.random.split(jax.random.fold_in(key, 3), 9))
    of_atrophy = iter([jax.random.fold_in(key, 4)])

    def even(
        bounds: tuple[float, float],
        shape: tuple[int, ...] = (),
        draws: Iterator[PRNGKeyArray] = keys,
    ) -> Array:
        return jax.random.uniform(next(draws), shape, minval=bounds[0], maxval=bounds[1])

    between = partial(even, draws=others)

    def logarithmic(bounds: tuple[float, float]) -> Array:
        return jnp.exp(even((math.log(bounds[0]), math.log(bounds[1]))))

    shortest = logarithmic(variety.voxel_size)
    limit = max(variety.longest_voxel, variety.voxel_size[1])
    longest = jnp.minimum(shortest * even(variety.anisotropy), limit)
    axis = jax.random.choice(next(keys), 3, p=jnp.array([0.1, 0.1, 0.8]))
    voxel_size = jnp.full(3, shortest).at[axis].set(longest)
    low, high = variety.tilt
    # Squared, so that the tilts of real scans are common and right angles are rare.
    tilt = jnp.deg2rad(low + (high - low) * even((0.0, 1.0)) ** 2)
    azimuth = even((0.0, 2 * jnp.pi))
    direction = jnp.stack([jnp.sin(tilt) * jnp.cos(azimuth), jnp.sin(tilt) * jnp.sin(azimuth), jnp.cos(tilt)])
    field_strength = logarithmic(variety.field_strength)
    times = jnp.linspace(even(variety.first_echo), even(variety.last_echo), variety.echoes)
    contrast = logarithmic(variety.contrast)
    middle = head.places[jax.random.randint(next(keys), (), 0, len(head.places))]
    centre = (head.places.min(axis=0) + head.places.max(axis=0)) / 2
    middle = jnp.where(jax.random.bernoulli(jax.random.fold_in(key, 1), variety.whole), centre, middle)
    low, high = jnp.log(jnp.array(variety.texture))
    texture = jnp.exp(jax.random.uniform(jax.random.fold_in(key, 2), minval=low, maxval=high))
    extent = jnp.array(shape) * voxel_size
    near = (middle - extent / 2, middle + extent / 2)
    subject = random_subject(
        head,
        field_strength=field_strength,
        pathology=variety.pathology,
        contrast=contrast,
        texture=texture,
        vein_trees=variety.vein_trees,
        deformation=between(variety.deformation),
        likeness=between(variety.likeness),
        sulci=jax.random.bernoulli(next(others), variety.sulci),
        atrophy=even(variety.atrophy, draws=of_atrophy),
        near=near,
        key=next(keys),
    )
    return Setting(
        subject=subject,
        origin=middle - (jnp.array(shape) - 1) / 2 * voxel_size,
        geometry=Geometry(voxel_size, direction),
        acquisition=Acquisition(times * 3.0 / field_strength, field_strength),
        snr=logarithmic(variety.snr),
        erosion=even(variety.erosion),
        contrast=contrast,
        partial_fourier=jnp.where(
            jax.random.bernoulli(next(keys), variety.partial_fourier), even((0.75, 0.875)), 1.0
        ),
        resolution=jnp.where(
            jax.random.bernoulli(next(others), variety.interpolated), between((0.6, 1.0), (3,)), 1.0
        ),
        shifts=ShiftStrengths(
            microstructure=between(variety.microstructure),
            exchange=between(variety.exchange),
            anisotropy=between(variety.fibre_anisotropy),
            flow=between(variety.flow),
        ),
        bipolar=jnp.where(jax.random.bernoulli(next(keys), variety.bipolar), 1.0, 0.0)
        * jax.random.uniform(next(keys), (2,), minval=-0.5, maxval=0.5),
        shim_error=1 + variety.shim_error * jax.random.normal(next(keys), (9,)),
        key=next(keys),
    )


def _patch(setting: Setting, head: Template, shape: tuple[int, int, int], variety: Variety) -> Patch:
    fine = variety.oversampling
    geometry = setting.geometry
    x, y, z = (fine * (n + 2 * MARGIN) for n in shape)
    near_shape = (x, y, z)
    voxel_size = geometry.voxel_size / fine
    # Fine samples divide the voxels evenly: the first lies (1 − 1/fine) / 2 voxels before a centre.
    origin = setting.origin - (MARGIN + (1 - 1 / fine) / 2) * geometry.voxel_size
    near_geometry = Geometry(voxel_size, geometry.b0_dir)
    finest = tuple(variety.voxel_size[0] / fine for _ in range(3))
    tissue = sample(setting.subject, head, near_shape, origin, voxel_size, finest=finest)
    key_texture, key_coil, key_noise = jax.random.split(setting.key, 3)
    chi = tissue.chi
    if variety.source != "head":
        chi = jnp.where(
            tissue.skull > 0.5, _replacement(key_texture, near_shape, near_geometry, setting, variety), chi
        )
    erosion = jnp.minimum(setting.erosion, (MARGIN - 1) * jnp.min(geometry.voxel_size))
    mask = erode(tissue.skull > WHOLE, erosion, near_geometry)  # type: ignore[arg-type]
    corner = origin - voxel_size / 2
    box = Box(corner, corner + voxel_size * jnp.array(near_shape))
    far = far_field(setting.subject, head, box, geometry.unit_b0_dir, tissue=variety.source == "head")
    axes = tuple(origin[i] + voxel_size[i] * jnp.arange(n) for i, n in enumerate(near_shape))
    near_local, near_rest = _near(chi, mask, near_geometry, shape, fine)
    local = near_local + evaluate(far.within, far, axes)
    fibres = fibre_directions(setting.subject, head, axes)
    shift = frequency_shifts(tissue.white, tissue.vein, fibres, near_geometry, setting.shifts)
    shift = shift * setting.contrast
    total = (
        local
        + shift
        + near_rest
        + evaluate(far.outside, far, axes)
        - combine(far.shim * setting.shim_error, axes)
    )

    amplitude = spoiled_gre_amplitude(
        tissue.proton_density, tissue.t1, repetition_time=0.05, flip_angle=math.radians(15)
    )
    offset = random_coil_phase(axes, key=key_coil)
    signal = gre_signal(total, setting.acquisition, m0=amplitude, r2star=tissue.r2star, phase_offset=offset)
    constant, slope = setting.bipolar
    gradients = bipolar_phase(variety.echoes, axes, constant=constant, slope=slope)
    signal = signal * jnp.exp(1j * gradients)
    matrices = [
        sampling_matrix(
            n,
            fine,
            partial_fourier=setting.partial_fourier if axis == 1 else 1.0,
            resolution=setting.resolution[axis],
        )
        for axis, n in enumerate(near_shape)
    ]
    signal = reduce(signal, matrices)[(slice(MARGIN, -MARGIN),) * 3]

    def voxels(image: Array) -> Array:
        """Mean over the fine samples of each voxel of the patch."""
        inner = image[(slice(MARGIN * fine, -MARGIN * fine),) * 3]
        x, y, z = shape
        return inner.reshape(x, fine, y, fine, z, fine).mean(axis=(1, 3, 5))

    inside = voxels(mask.astype(jnp.float32)) > WHOLE
    of_field = setting.acquisition.phase_per_ppm
    known = of_field * voxels(total)[..., None] + jax.vmap(voxels, -1, -1)(offset[..., None] + gradients)
    of_k_space = _fitted(signal * jnp.exp(-1j * known), of_field)
    level = jnp.sum(inside * jnp.abs(signal[..., 0])) / jnp.maximum(inside.sum(), 1)
    signal = signal / jnp.maximum(level, 1e-6)
    signal = add_complex_noise(signal, 1 / setting.snr, key=key_noise)
    return Patch(
        phase=jnp.angle(signal),
        magnitude=jnp.abs(signal),
        total_field=voxels(total) + of_k_space,
        local_field=voxels(local),
        shift=voxels(shift) + of_k_space,
        chi=voxels(chi),
        mask=inside,
        geometry=geometry,
        acquisition=setting.acquisition,
        snr=setting.snr,
    )


def _fitted(signal: Array, phase_per_ppm: Array) -> Array:
    """Field in ppm of a signal whose phase is too small to wrap, by least squares over its echoes."""
    weights = jnp.abs(signal) * phase_per_ppm
    norm = jnp.maximum(jnp.sum(weights**2, axis=-1), 1e-12)
    return jnp.sum(weights * jnp.abs(signal) * jnp.angle(signal), axis=-1) / norm


def _replacement(
    key: PRNGKeyArray, shape: tuple[int, ...], geometry: Geometry, setting: Setting, variety: Variety
) -> Array:
    """χ without anatomy; ``contrast`` scales it as it scales tissue."""
    x, y, z = shape
    voxel = jnp.min(setting.geometry.voxel_size)
    if variety.source == "shapes":
        return setting.contrast * random_shapes(
            (x, y, z), geometry, smallest=1.5 * voxel, largest=16 * voxel, chi_deviation=0.1, key=key
        )
    key_size, key_noise = jax.random.split(key)
    smoothness = voxel * jnp.exp(jax.random.uniform(key_size, minval=0.0, maxval=2.0))
    return setting.contrast * random_field((x, y, z), geometry, smoothness=smoothness, key=key_noise)


def _near(
    chi: Array, mask: Array, geometry: Geometry, shape: tuple[int, int, int], fine: int
) -> tuple[Array, Array]:
    """Fields of the near box's χ within the mask and outside it, in free space on the patch."""
    padded = fast_shape([fine * 2 * (n + MARGIN) for n in shape])
    inside, outside = (dipole_kernel(padded, geometry, kernel=kind) for kind in ("bandlimited", "integrated"))
    return dipole_convolve(chi * mask, inside, padded), dipole_convolve(chi * ~mask, outside, padded)
