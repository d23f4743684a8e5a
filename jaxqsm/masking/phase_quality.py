"""Mask where phase is smooth, from the phase alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.masking.morphology import finished, found, largest, refuse_constant, smoothed
from jaxqsm.masking.object_scale import size_of
from jaxqsm.physics import wrap_phase

ROUGHEST = 1.3
"""rad. Second differences of a phase that is all noise have a root mean square of π/√3 = 1.8."""

SMOOTHING = 1.5
"""mm, standard deviation of the Gaussian that quality is averaged over: one voxel may be smooth by chance."""

ADULT_HEAD = 3.4e6
"""mm³ of smooth phase in a scan of an adult head, to which the lengths here belong."""

GAPS = 2.0
"""mm, half the width of gaps that are filled."""


def phase_quality(
    phase: Float[Array, "x y z *echo"],
    geometry: Geometry,
    *,
    erosion: float | None = None,
) -> Bool[Array, "x y z"]:
    """Segment the largest region of smooth phase, with its holes filled.

    Use it where the magnitude misleads: bright vessels, surface coils, scans without one.

    Phase is smooth where there is signal, and noise where there is none, whatever the coil and the contrast.
    So it serves where a magnitude does not: bright vessels, strong receive sensitivities. It does not know
    a brain from a scalp.

    Args:
        phase: rad, wrapped; of several echoes the worst counts.
        geometry: voxel size (mm).
        erosion: mm taken off the finished mask, never at the array's border. Default: one layer of voxels;
            0: none.

    Returns:
        Boolean mask with holes filled; empty under ``jit`` where it would be refused. No gradient passes.

    Raises:
        ValueError: the phase is constant, or smooth nowhere.

    References:
        Abdul-Rahman et al. 2007, Appl Opt 46:6623, doi:10.1364/AO.46.006623 (second differences as quality);
        Hagberg et al. 2022, NMR Biomed 35:e4667, doi:10.1002/nbm.4667 (masks by phase quality in QSM).

    Example:
        >>> image = jax.random.uniform(jax.random.key(0), (24, 24, 24))
        >>> image = image.at[4:20, 4:20, 4:20].set(0.1 * jnp.arange(16))  # smooth phase in noise
        >>> int(phase_quality(6 * image - 3, Geometry()).sum()) > 1000
        True
    """
    refuse_constant(phase, "phase")
    return found(_segmented(phase, geometry, erosion), "the phase is smooth nowhere; pass a mask")


def _segmented(phase: Array, geometry: Geometry, erosion: ArrayLike | None) -> Array:
    rough = _roughness(phase)
    scale = size_of(largest(rough < ROUGHEST), geometry, volume=ADULT_HEAD)
    mask = largest(_smooth(rough, SMOOTHING * scale, geometry) < ROUGHEST)
    return finished(mask, geometry, gaps=GAPS * scale, erosion=erosion)


@jax.jit
def _roughness(phase: Array) -> Array:
    """Root mean square of the three second differences, each wrapped, rad; of the worst echo."""
    still = jax.lax.stop_gradient(phase.astype(jnp.float32))
    echoes = still[..., None] if still.ndim == 3 else still
    return jax.lax.map(_of_echo, jnp.moveaxis(echoes, -1, 0)).max(axis=0)


_smooth = jax.jit(smoothed)


def _of_echo(phase: Array) -> Array:
    total = jnp.zeros(phase.shape)
    for axis in range(3):
        bend = wrap_phase(jnp.diff(wrap_phase(jnp.diff(phase, axis=axis)), axis=axis))
        widths = [(1, 1) if i == axis else (0, 0) for i in range(3)]
        total = total + jnp.pad(bend, widths, mode="edge") ** 2
    return jnp.sqrt(total / 3)
