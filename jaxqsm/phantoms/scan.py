"""A multi-echo scan simulated from a phantom."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.phantoms.head import HeadPhantom
from jaxqsm.physics import add_complex_noise, dipole_field, gre_signal, spoiled_gre_amplitude

NECK = 40.0
"""Length in mm by which the lowest slice is repeated downwards for the field: the body goes on."""


@dataclasses.dataclass(frozen=True)
class Scan:
    """A simulated scan and its ground truth.

    Attributes:
        signal: complex, ``(x, y, z, echo)``.
        chi: ppm relative to water, all tissues.
        total_field: ppm, as the signal carries it (shimmed).
        local_field: ppm, the field of χ inside the mask alone.
        phase_offset: rad.
    """

    signal: Complex[Array, "x y z echo"]
    chi: Float[Array, "x y z"]
    total_field: Float[Array, "x y z"]
    local_field: Float[Array, "x y z"]
    phase_offset: Float[Array, "x y z"]


def simulate_scan(
    key: PRNGKeyArray,
    phantom: HeadPhantom,
    geometry: Geometry,
    acquisition: Acquisition,
    *,
    snr: float = 100.0,
    repetition_time: float = 0.05,
    flip_angle: float = np.deg2rad(15.0),
) -> Scan:
    """Field, steady-state multi-echo signal, coil phase, first-order shim and complex noise.

    Args:
        key: random key of noise and coil phase.
        phantom: ground truth; its voxel size must be that of ``geometry``.
        geometry: voxel size and field direction in voxel (head) axes.
        acquisition: echo times and field strength.
        snr: mean magnitude in the mask at the first echo over the noise of one channel. Infinite
            switches noise off. Default 100.
        repetition_time: TR in s; default 0.05.
        flip_angle: rad; default 15°.

    Returns:
        Signal and ground truth. The field is that of magnetised cuboids in free space, not the
        kernel that inversions use.
    """
    mask = jnp.asarray(phantom.mask)
    slices = round(NECK / float(geometry.voxel_size[2]))
    neck = ((0, 0), (0, 0), (slices, 0))
    total = _field(jnp.pad(phantom.chi, neck, mode="edge"), geometry)[:, :, slices:]
    total = total - _linear_fit(total, mask)
    local = _field(phantom.chi * mask, geometry)
    amplitude = spoiled_gre_amplitude(
        phantom.proton_density, phantom.t1, repetition_time=repetition_time, flip_angle=flip_angle
    )
    key_offset, key_noise = jax.random.split(key)
    offset = _coil_phase(key_offset, phantom.chi.shape)
    signal = gre_signal(total, acquisition, m0=amplitude, r2star=phantom.r2star, phase_offset=offset)
    if np.isfinite(snr):
        level = jnp.sum(mask * jnp.abs(signal[..., 0])) / mask.sum()
        signal = add_complex_noise(key_noise, signal, level / snr)
    return Scan(signal, phantom.chi, total, local, offset)


@jax.jit
def _field(chi: Array, geometry: Geometry) -> Array:
    return dipole_field(chi, geometry, kernel="integrated")


def _ramps(shape: tuple[int, ...]) -> list[Array]:
    """Coordinates from −1 to 1 along each axis, broadcastable."""
    return [
        jnp.linspace(-1, 1, n).reshape([-1 if i == axis else 1 for i in range(3)])
        for axis, n in enumerate(shape)
    ]


@jax.jit
def _linear_fit(field: Array, mask: Array) -> Array:
    """Constant and linear shim terms that a scanner would null over the mask."""
    basis = [jnp.broadcast_to(b, field.shape) for b in (jnp.ones((1, 1, 1)), *_ramps(field.shape))]
    normal = jnp.array([[jnp.sum(a * b * mask) for b in basis] for a in basis])
    right = jnp.array([jnp.sum(a * field * mask) for a in basis])
    weights = jnp.linalg.solve(normal, right)
    return sum(w * b for w, b in zip(weights, basis, strict=True))


def _coil_phase(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    """Smooth random phase offset: second-order, up to about π across the volume."""
    x, y, z = _ramps(shape)
    terms = (x, y, z, x * y, y * z, x * z, x**2 - y**2, 2 * z**2 - x**2 - y**2)
    weights = jax.random.uniform(key, (len(terms) + 1,), minval=-0.8, maxval=0.8)
    offset = sum(w * jnp.broadcast_to(t, shape) for w, t in zip(weights[:-1], terms, strict=True))
    return offset + jnp.pi * weights[-1]
