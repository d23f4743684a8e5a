"""A multi-echo scan simulated from a phantom."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Inexact, PRNGKeyArray, UInt8

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.phantoms.acquisition import (
    bipolar_phase,
    combine,
    random_coil_phase,
    reduce,
    sampling_matrix,
    shim,
)
from jaxqsm.phantoms.head import HeadPhantom
from jaxqsm.phantoms.tissues import AIR_CHI
from jaxqsm.physics import (
    add_complex_noise,
    dipole_field,
    gre_signal,
    magnetisation_field,
    spoiled_gre_amplitude,
)

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
    key: PRNGKeyArray,
    phantom: HeadPhantom,
    geometry: Geometry,
    acquisition: Acquisition,
    *,
    snr: float = 100.0,
    repetition_time: float = 0.05,
    flip_angle: float = np.deg2rad(15.0),
    shim_order: int = 1,
    bipolar: bool = False,
    partial_fourier: float = 1.0,
) -> Scan:
    """Field, steady-state multi-echo signal, coil phase, shim, finite k-space and complex noise.

    A phantom finer than the scan's voxels gives the signal of what is within each of them: phase that
    differs within a voxel cancels, and sharp borders ring, as k-space is cut to what the voxels resolve.

    Args:
        key: random key of noise and coil phase.
        phantom: ground truth; its voxels are those of ``geometry`` or smaller.
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
        The field is that of magnetised cuboids in air, not the kernel that inversions use.

    Raises:
        ValueError: voxels of the scan smaller than the phantom's.
    """
    voxel_size = np.asarray(geometry.voxel_size, float)
    ratio = voxel_size / np.asarray(phantom.voxel_size)
    if (ratio < 0.999).any():
        raise ValueError(f"phantom voxels {phantom.voxel_size} mm are larger than the scan's {voxel_size}")
    same = bool((ratio < 1.001).all())
    fine = Geometry(phantom.voxel_size, geometry.b0_dir)
    mask = jnp.asarray(phantom.mask)
    shape = mask.shape
    axes = [phantom.origin[i] + phantom.voxel_size[i] * jnp.arange(float(n)) for i, n in enumerate(shape)]
    total = _total_field(phantom, fine)
    total = total - combine(shim(total, mask, axes, order=shim_order), axes)
    local = _field(phantom.chi * mask, fine) + _anisotropic_field(phantom, fine)
    amplitude = spoiled_gre_amplitude(
        phantom.proton_density, phantom.t1, repetition_time=repetition_time, flip_angle=flip_angle
    )
    key_offset, key_noise = jax.random.split(key)
    offset = random_coil_phase(key_offset, axes)
    echoes = acquisition.echo_times.size
    alternating = bipolar_phase(echoes, axes) if bipolar else jnp.zeros((1, 1, 1, echoes))
    counts = [int(n / r + 1e-6) for n, r in zip(shape, ratio, strict=True)]
    if same and partial_fourier >= 1:
        signal = gre_signal(total, acquisition, m0=amplitude, r2star=phantom.r2star, phase_offset=offset)
        signal = signal * jnp.exp(1j * alternating)
    else:
        matrices = [
            sampling_matrix(n, float(r), partial_fourier=partial_fourier if axis == 1 else 1.0, count=c)
            for axis, (n, r, c) in enumerate(zip(shape, ratio, counts, strict=True))
        ]
        echo_signals = []
        for echo in range(echoes):
            alone = Acquisition(acquisition.echo_times[echo : echo + 1], acquisition.field_strength)
            phase = offset + alternating[..., echo]
            echo_signals.append(_reduced_echo(total, amplitude, phantom.r2star, phase, alone, matrices))
        signal = jnp.stack(echo_signals, axis=-1)
    means = [_averaging(n, float(r), c) for n, r, c in zip(shape, ratio, counts, strict=True)]

    def voxels(image: Array) -> Array:
        return jnp.asarray(image) if same else reduce(image, means)

    centres = np.ix_(
        *[np.round((np.arange(c) + 0.5) * r - 0.5).astype(int) for c, r in zip(counts, ratio, strict=True)]
    )
    inside = np.asarray(voxels(mask.astype(jnp.float32)) > 0.5)
    if np.isfinite(snr):
        level = jnp.sum(inside * jnp.abs(signal[..., 0])) / inside.sum()
        signal = add_complex_noise(key_noise, signal, level / snr)
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


@jax.jit
def _field(chi: Array, geometry: Geometry) -> Array:
    return dipole_field(chi, geometry, kernel="integrated")


def _total_field(phantom: HeadPhantom, geometry: Geometry) -> Array:
    slices = round(NECK / phantom.voxel_size[2])
    body = jnp.pad(phantom.chi, ((0, 0), (0, 0), (slices, 0)), mode="edge") - AIR_CHI
    return _field(body, geometry)[:, :, slices:] + _anisotropic_field(phantom, geometry)


def _anisotropic_field(phantom: HeadPhantom, geometry: Geometry) -> Array:
    """Field of what the fibres add to the mean susceptibility: Δχ (v (v·b) − b/3)."""
    if phantom.fibres is None or phantom.anisotropy is None:
        return jnp.zeros(())
    b = geometry.unit_b0_dir
    along = jnp.tensordot(b, phantom.fibres, axes=1, precision="highest")
    return magnetisation_field(
        phantom.anisotropy * (phantom.fibres * along - b[:, None, None, None] / 3), geometry
    )


@jax.jit
def _reduced_echo(
    total: Array,
    amplitude: Array,
    r2star: Array,
    offset: Array,
    acquisition: Acquisition,
    matrices: list[Inexact[Array, "out in"]],
) -> Complex[Array, "X Y Z"]:
    """One echo on the scan's voxels; the fine signal exists a slab at a time."""
    slices = total.shape[2]
    slabs = -(-slices // SLAB)
    extra = ((0, 0), (0, 0), (0, slabs * SLAB - slices))
    volumes = [jnp.pad(v, extra) for v in (total, amplitude, r2star, jnp.broadcast_to(offset, total.shape))]
    last = jnp.pad(matrices[2], ((0, 0), extra[2]))

    def add(image: Array, slab: Array) -> tuple[Array, None]:
        field, m0, rate, phase = (jax.lax.dynamic_slice_in_dim(v, slab * SLAB, SLAB, axis=2) for v in volumes)
        signal = gre_signal(field, acquisition, m0=m0, r2star=rate, phase_offset=phase)[..., 0]
        part = jax.lax.dynamic_slice_in_dim(last, slab * SLAB, SLAB, axis=1)
        return image + reduce(signal, [matrices[0], matrices[1], part]), None

    empty = jnp.zeros([m.shape[0] for m in matrices], jnp.result_type(total, 1j))
    return jax.lax.scan(add, empty, jnp.arange(slabs))[0]


def _averaging(length: int, ratio: float, count: int) -> Float[Array, "out in"]:
    """Means of fine samples over voxels, samples that a border cuts in proportion."""
    low = np.arange(count)[:, None] * ratio
    overlap = np.minimum(low + ratio, np.arange(length) + 1) - np.maximum(low, np.arange(length))
    return jnp.asarray(np.clip(overlap, 0, 1) / ratio, jnp.float32)
