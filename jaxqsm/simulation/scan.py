"""A multi-echo scan simulated from a phantom."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Inexact, PRNGKeyArray, UInt8

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.operators import fast_shape
from jaxqsm.phantoms.head import HeadPhantom
from jaxqsm.phantoms.tissues import AIR_CHI, WHOLE
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
    shim,
)
from jaxqsm.simulation.frequency_shifts import anisotropic_field

NECK = 40.0
"""Length in mm by which the lowest slice is repeated downwards for the field: the body goes on."""

SLAB = 16
"""Fine slices whose signal is held at a time."""


@dataclasses.dataclass(frozen=True)
class Scan:
    """A simulated scan and its ground truth, on the scan's voxels.

    Attributes:
        signal: complex, ``(x, y, z, echo)``.
        chi: ppm relative to water, all tissues.
        total_field: ppm, as the signal carries it (shimmed).
        local_field: ppm, the field of χ inside the mask alone.
        phase_offset: rad.
        mask: brain with its fluid and vessels.
        labels: :class:`~jaxqsm.phantoms.Tissue` at each voxel's centre.
        origin: position in mm of the first voxel's centre, head axes.
    """

    signal: Complex[Array, "x y z echo"]
    chi: Float[Array, "x y z"]
    total_field: Float[Array, "x y z"]
    local_field: Float[Array, "x y z"]
    phase_offset: Float[Array, "x y z"]
    mask: Bool[np.ndarray, "x y z"]
    labels: UInt8[np.ndarray, "x y z"]
    origin: tuple[float, float, float]


def simulate_scan(
    phantom: HeadPhantom,
    geometry: Geometry,
    acquisition: Acquisition,
    *,
    key: PRNGKeyArray,
    snr: float = 100.0,
    repetition_time: float = 0.05,
    flip_angle: float = np.deg2rad(15.0),
    shim_order: int = 1,
    bipolar: bool = False,
    partial_fourier: float = 1.0,
) -> Scan:
    """Simulate a scan: field, steady-state signal, coil phase, shim, finite k-space and noise.

    A phantom finer than the scan's voxels gives the signal of what is within each of them: phase that
    differs within a voxel cancels, and sharp borders ring, as k-space is cut to what the voxels resolve.

    Args:
        key: random key of noise and coil phase.
        phantom: ground truth; its voxels are those of ``geometry`` or smaller. A head at 0.5 mm takes
            15 GB.
        geometry: voxel size of the scan and field direction in voxel (head) axes; both known values, not
            traced.
        acquisition: echo times and field strength.
        snr: mean magnitude in the mask at the first echo over the noise of one channel. Infinite
            switches noise off. Default 100.
        repetition_time: TR in s; default 0.05.
        flip_angle: rad; default 15°.
        shim_order: harmonics that the scanner nulls over the brain, 0 to 2; default 1.
        bipolar: echoes are read in alternating directions, with the phase of :func:`bipolar_phase`.
        partial_fourier: part of k-space measured along the second axis, 0.5 to 1; default 1.

    Returns:
        Signal and ground truth; fields and χ are means over the phantom's voxels within a scan's voxel.
        The field of what is outside the mask is that of magnetised cuboids in air, the field within that
        of a band-limited χ, both in free space.

    Raises:
        ValueError: voxels of the scan smaller than the phantom's.
    """
    voxel_size = np.asarray(geometry.voxel_size, float)
    ratio = voxel_size / np.asarray(phantom.voxel_size)
    if (ratio < 0.999).any():
        raise ValueError(f"phantom voxels {phantom.voxel_size} mm are larger than the scan's {voxel_size}")
    same = bool((ratio < 1.001).all())
    fine = Geometry(phantom.voxel_size, geometry.b0_dir)
    shape = phantom.mask.shape
    counts = [int(n / r + 1e-6) for n, r in zip(shape, ratio, strict=True)]
    means = [_averaging(n, float(r), c) for n, r, c in zip(shape, ratio, counts, strict=True)]

    def voxels(image: Array) -> Array:
        return jnp.asarray(image) if same else reduce(image, means)

    inside = np.asarray(voxels(jnp.asarray(phantom.mask, jnp.float32)) > WHOLE)
    mask = jnp.asarray(_repeated(inside, shape, ratio))
    axes = [phantom.origin[i] + phantom.voxel_size[i] * jnp.arange(float(n)) for i, n in enumerate(shape)]
    total, local = _fields(jnp.asarray(phantom.chi), mask, fine, neck=round(NECK / phantom.voxel_size[2]))
    fibres = _anisotropic_field(phantom, fine)
    total, local = total + fibres, local + fibres
    total = total - combine(shim(total, mask, axes, order=shim_order), axes)
    amplitude = spoiled_gre_amplitude(
        phantom.proton_density, phantom.t1, repetition_time=repetition_time, flip_angle=flip_angle
    )
    key_offset, key_noise = jax.random.split(key)
    offset = random_coil_phase(axes, key=key_offset)
    echoes = acquisition.echo_times.size
    phases = offset[..., None] + (bipolar_phase(echoes, axes) if bipolar else jnp.zeros(echoes))
    matrices = None
    if not same or partial_fourier < 1:
        matrices = [
            sampling_matrix(n, float(r), partial_fourier=partial_fourier if axis == 1 else 1.0, count=c)
            for axis, (n, r, c) in enumerate(zip(shape, ratio, counts, strict=True))
        ]
    echo_signals = []
    for echo in range(echoes):
        alone = Acquisition(acquisition.echo_times[echo : echo + 1], acquisition.field_strength)
        properties = total, amplitude, phantom.r2star, phases[..., echo]
        echo_signals.append(_echo(*properties, alone, matrices))
    signal = jnp.stack(echo_signals, axis=-1)
    if np.isfinite(snr):
        level = jnp.sum(inside * jnp.abs(signal[..., 0])) / inside.sum()
        signal = add_complex_noise(signal, level / snr, key=key_noise)
    centres = np.ix_(
        *[np.round((np.arange(c) + 0.5) * r - 0.5).astype(int) for c, r in zip(counts, ratio, strict=True)]
    )
    origin = np.asarray(phantom.origin) + (voxel_size - np.asarray(phantom.voxel_size)) / 2
    return Scan(
        signal=signal,
        chi=voxels(phantom.chi),
        total_field=voxels(total),
        local_field=voxels(local),
        phase_offset=voxels(offset),
        mask=inside,
        labels=phantom.labels[centres],
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
    )


def _fields(chi: Array, mask: Array, geometry: Geometry, *, neck: int) -> tuple[Array, Array]:
    """Field of the whole head in air, its neck prolonged downwards, and that of the masked χ alone."""
    body = jnp.pad(chi, ((0, 0), (0, 0), (neck, 0)), mode="edge") - AIR_CHI
    shape = fast_shape(body.shape, body.shape)
    body = body.at[:, :, neck:].add(-chi * mask)
    # Programs of their own: one would run both convolutions at once, in twice the memory.
    background = _convolve(body, _kernel(shape, geometry, kernel="integrated"), shape)[:, :, neck:]
    local = _convolve(chi * mask, _kernel(shape, geometry, kernel="bandlimited"), shape)
    return background + local, local


_kernel = jax.jit(dipole_kernel, static_argnums=0, static_argnames="kernel")


_convolve = jax.jit(dipole_convolve, static_argnums=2)


def _anisotropic_field(phantom: HeadPhantom, geometry: Geometry) -> Array:
    """Field of a phantom's fibres; none where it has none."""
    if phantom.fibres is None or phantom.anisotropy is None:
        return jnp.zeros(())
    return anisotropic_field(phantom.anisotropy, phantom.fibres, geometry)


@jax.jit
def _echo(
    total: Array,
    amplitude: Array,
    r2star: Array,
    phase_offset: Array,
    acquisition: Acquisition,
    matrices: Sequence[Inexact[Array, "out in"]] | None = None,
) -> Complex[Array, "X Y Z"]:
    """One echo, on the scan's voxels by :func:`sampling_matrix`; the fine signal exists a slab at a time."""
    volumes = total, amplitude, r2star, phase_offset

    def signal(field: Array, m0: Array, rate: Array, phase: Array) -> Array:
        return gre_signal(field, acquisition, m0=m0, r2star=rate, phase_offset=phase)[..., 0]

    if matrices is None:
        return signal(*volumes)
    slices = total.shape[2]
    slabs = -(-slices // SLAB)
    extra = (0, slabs * SLAB - slices)
    padded = [jnp.pad(v, ((0, 0), (0, 0), extra)) for v in volumes]
    last = jnp.pad(matrices[2], ((0, 0), extra))

    def add(image: Array, slab: Array) -> tuple[Array, None]:
        fine = signal(*[jax.lax.dynamic_slice_in_dim(v, slab * SLAB, SLAB, axis=2) for v in padded])
        part = jax.lax.dynamic_slice_in_dim(last, slab * SLAB, SLAB, axis=1)
        return image + reduce(fine, [matrices[0], matrices[1], part]), None

    empty = jnp.zeros([m.shape[0] for m in matrices], jnp.result_type(total, 1j))
    return jax.lax.scan(add, empty, jnp.arange(slabs))[0]


def _averaging(length: int, ratio: float, count: int) -> Float[Array, "out in"]:
    """Means of fine samples over voxels, samples that a border cuts in proportion."""
    low = np.arange(count)[:, None] * ratio
    overlap = np.minimum(low + ratio, np.arange(length) + 1) - np.maximum(low, np.arange(length))
    return jnp.asarray(np.clip(overlap, 0, 1) / ratio, jnp.float32)


def _repeated(mask: np.ndarray, shape: tuple[int, ...], ratio: np.ndarray) -> np.ndarray:
    """A mask of the scan's voxels on the phantom's: nothing where no voxel of the scan is."""
    places = [np.floor((np.arange(n) + 0.5) / r).astype(int) for n, r in zip(shape, ratio, strict=True)]
    wide = np.pad(mask, [(0, max(p[-1] + 1 - n, 0)) for p, n in zip(places, mask.shape, strict=True)])
    return wide[np.ix_(*places)]
