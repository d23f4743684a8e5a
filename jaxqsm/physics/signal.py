"""The multi-echo gradient-echo signal of a field map."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Complex, Float

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.physics.dipole import dipole_field


def gre_signal(
    field: Float[Array, "x y z"],
    acquisition: Acquisition,
    *,
    m0: ArrayLike = 1.0,
    r2star: ArrayLike = 0.0,
    phase_offset: ArrayLike = 0.0,
) -> Complex[Array, "x y z echo"]:
    """Compute m0 · exp(−R2* TE) · exp(i (2π γ B0 field TE + offset)) at every echo.

    Args:
        field: field in ppm, shape ``(x, y, z)``. A positive field gives growing phase.
        acquisition: echo times (s) and field strength (T).
        m0: signal magnitude at TE = 0, scalar or ``(x, y, z)``, any unit. Default 1.
        r2star: effective transverse relaxation rate in 1/s, scalar or ``(x, y, z)``. Default 0.
        phase_offset: phase at TE = 0 in rad (coil and transmit phase), scalar or ``(x, y, z)``.

    Returns:
        Complex signal, shape ``(x, y, z, echo)``, unit of ``m0``.
    """
    echo_times = acquisition.echo_times
    phase = jnp.asarray(field)[..., None] * acquisition.phase_per_ppm
    phase = phase + jnp.asarray(phase_offset)[..., None]
    decay = jnp.exp(-jnp.asarray(r2star)[..., None] * echo_times)
    return jnp.asarray(m0)[..., None] * decay * jnp.exp(1j * phase)


def gre_signal_from_chi(
    chi: Float[Array, "x y z"],
    geometry: Geometry,
    acquisition: Acquisition,
    *,
    m0: ArrayLike = 1.0,
    r2star: ArrayLike = 0.0,
    phase_offset: ArrayLike = 0.0,
) -> Complex[Array, "x y z echo"]:
    """Compute the :func:`gre_signal` of the free-space dipole field of χ in ppm.

    Arguments and result as there; ``geometry`` gives voxel size (mm) and field direction.
    """
    field = dipole_field(chi, geometry)
    return gre_signal(field, acquisition, m0=m0, r2star=r2star, phase_offset=phase_offset)


def spoiled_gre_amplitude(
    proton_density: ArrayLike, t1: ArrayLike, *, repetition_time: float, flip_angle: float
) -> Float[Array, ...]:
    """Compute the steady-state amplitude of a spoiled gradient echo at TE = 0 (Ernst formula).

    Args:
        proton_density: equilibrium magnetisation, any unit.
        t1: longitudinal relaxation time in s.
        repetition_time: TR in s.
        flip_angle: in rad.

    References:
        Ernst & Anderson 1966, Rev Sci Instrum 37:93, doi:10.1063/1.1719961.
    """
    recovery = jnp.exp(-repetition_time / jnp.asarray(t1))
    return (
        jnp.asarray(proton_density)
        * jnp.sin(flip_angle)
        * (1 - recovery)
        / (1 - jnp.cos(flip_angle) * recovery)
    )


def wrap_phase(phase: Float[Array, ...]) -> Float[Array, ...]:
    """Wrap phase in rad into [−π, π]; the gradient is 1 everywhere it is defined."""
    return phase - 2 * jnp.pi * jnp.round(phase / (2 * jnp.pi))
