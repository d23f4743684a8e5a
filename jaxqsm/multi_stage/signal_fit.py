"""χ straight from the scanner's complex signal: no unwrapping and no background removal come before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float

from jaxqsm.field_mapping import nonlinear_fit, precision
from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.inversion import nltv, tgv, tv
from jaxqsm.operators import peel, spherical_mean, weighted_mean
from jaxqsm.physics import dipole_field
from jaxqsm.pretrained import learned
from jaxqsm.pretrained.plug_and_play import plug_and_play
from jaxqsm.relaxometry import nonlinear
from jaxqsm.single_step import ss_tv
from jaxqsm.single_step.ss_tv import RADII
from jaxqsm.unwrapping import laplacian

BACKGROUND_RADIUS = 3.0
"""mm. What χ does not explain of the field is harmonic, so it equals its spherical mean."""

OFFSET_RADIUS = 8.0
"""mm, over which the phase offset is one complex number."""

Invert = Callable[..., Float[Array, "x y z"]]

PRIORS: Mapping[str, Invert | None] = {
    "ss_tv": None,
    "tv": tv,
    "tgv": tgv,
    "nltv": nltv,
    "learned": learned,
    "plug_and_play": plug_and_play,
}
"""Inversions of the last step by name; ``ss_tv`` has found χ by then."""


class SignalFit(NamedTuple):
    """Model of a multi-echo signal.

    Attributes:
        chi: ppm, zero mean in ``mask``, zero outside.
        mask: where χ is valid.
        total_field: ppm, of sources inside and outside, voxel by voxel; zero outside the given mask.
        background_field: ppm, the part of it that comes from outside, smooth.
        phase_offset: rad, at echo time zero.
        r2star: 1/s.
        reliability: how far the echoes of a voxel agree with the fit, 0 to 1.
    """

    chi: Float[Array, "x y z"]
    mask: Bool[Array, "x y z"]
    total_field: Float[Array, "x y z"]
    background_field: Float[Array, "x y z"]
    phase_offset: Float[Array, "x y z"]
    r2star: Float[Array, "x y z"]
    reliability: Float[Array, "x y z"]


@partial(jax.jit, static_argnames=("outer_iterations", "radii", "max_iterations", "prior"))
def signal_fit(
    signal: Complex[Array, "x y z echo"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    acquisition: Acquisition,
    *,
    weight: float = 5e-4,
    edges: float = 0.3,
    radii: tuple[float, ...] = RADII,
    least_reliability: float = 0.9,
    outer_iterations: int = 3,
    tolerance: float = 1e-2,
    max_iterations: int = 100,
    prior: str = "ss_tv",
) -> SignalFit:
    """Fit signal = m0 exp(−R2* t) exp(i (offset + 2π γ B0 field t)), with field = Dχ + harmonic.

    Use it at 7 T or low SNR, where unwrapping errors are frequent.

    Blocks of unknowns are fitted in turn, each with the others held: in every voxel the field and decay of
    least squares of the complex signal, nearest to the field that the model predicts there; the phase
    offset, smooth over 8 mm; χ behind filters that no background passes, with edges of the magnitude
    (:func:`jaxqsm.single_step.ss_tv`); and the background, what is left, smooth over 3 mm.

    A voxel's 2π multiples are those of the model's prediction, which looks at all voxels around through
    the physics, and at all echoes. So there is no region growing, and all of it works under ``jit``,
    ``vmap`` and ``grad``, on any device. It begins with the phase difference of the first two echoes,
    the time with the fewest turns, unwrapped by least squares.

    Args:
        signal: complex, any unit, shape ``(x, y, z, echo)``, two echoes or more.
        mask: where the signal is meaningful.
        geometry: voxel size and field direction.
        acquisition: echo times and field strength.
        weight, edges, radii: as for :func:`jaxqsm.single_step.ss_tv`.
        least_reliability: agreement of a voxel's echoes below which its field has no weight. Default 0.9.
        outer_iterations: of all blocks. Default 3.
        tolerance, max_iterations: of the last solution for χ. Defaults 1e-2 and 100.
        prior: one of :data:`PRIORS`. All but the default ``"ss_tv"`` find χ once more, from the field that
            the rounds have settled and less the background that they have found. ``ss_tv`` removes no
            background and is the most accurate on simulated heads.

    Returns:
        χ and all else that explains the signal.

    Raises:
        ValueError: one echo only, no round, or an unknown prior.

    References:
        Liu et al. 2013, MRM 69:467, doi:10.1002/mrm.24272 (complex least squares); Chatnuntawech et al. 2017,
        NMR Biomed 30:e3570, doi:10.1002/nbm.3570 (single step).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> acquisition = Acquisition((0.004, 0.012), 3.0)
        >>> signal = jnp.ones((16, 16, 16, 2), jnp.complex64)
        >>> found = signal_fit(signal, mask, Geometry(), acquisition, outer_iterations=1, max_iterations=2)
        >>> found.chi.shape
        (16, 16, 16)
    """
    if signal.shape[-1] < 2:
        raise ValueError("signal_fit needs two echoes to tell field and phase offset apart")
    if outer_iterations < 1:
        raise ValueError(f"signal_fit needs at least one outer iteration, not {outer_iterations}")
    if prior not in PRIORS:
        raise ValueError(f"signal_fit has no prior {prior!r}; use one of {', '.join(PRIORS)}")
    inside = mask.astype(signal.real.dtype)
    empty = (signal == 0) | ~mask[..., None]
    safe = jnp.where(empty, 1, signal)
    magnitude = jnp.where(empty, 0, jnp.abs(safe))
    sure = precision(magnitude, acquisition)
    image = jnp.sqrt(jnp.sum(magnitude**2, axis=-1))
    r2star = nonlinear(magnitude, mask, acquisition)
    ramp = acquisition.phase_per_ppm

    total = _first_field(safe, mask, geometry, acquisition)
    background = jnp.zeros_like(total)
    weights, kept = sure, mask
    chi: Array | None = None
    valid = mask
    for number in range(outer_iterations):
        chi, valid = ss_tv(
            total,
            kept,
            geometry,
            magnitude=image,
            weights=weights,
            start=chi,
            weight=weight,
            edges=edges,
            radii=radii,
            # But for the last, χ only tells which turn is the right one.
            tolerance=tolerance if number == outer_iterations - 1 else 4 * tolerance,
            max_iterations=max_iterations,
        )
        explained = dipole_field(chi, geometry)
        rest = total - explained
        background = weighted_mean(rest, weights * inside, BACKGROUND_RADIUS, geometry, otherwise=rest)
        predicted = explained + background
        # Later rounds see all echoes; the first one the pair with the fewest turns.
        if number == 0:
            predicted = predicted + _between(safe, predicted, ramp) * inside
        offset = _offset(safe, magnitude, predicted, inside, geometry, acquisition)
        left = jnp.angle(safe * jnp.exp(-1j * (offset[..., None] + predicted[..., None] * ramp)))
        total = predicted + nonlinear_fit(_in_time(left, acquisition), magnitude, mask, acquisition)
        total = total * inside
        agreement = _agreement(safe, magnitude, total, offset, ramp) * inside
        doubtful = agreement < least_reliability
        weights = jnp.where(doubtful, 0, sure)
        kept = peel(mask, doubtful)
    assert chi is not None  # there is a round
    invert = PRIORS[prior]
    if invert is not None:
        chi = invert((total - background) * valid, valid, geometry, weights=weights)
    return SignalFit(chi, valid, total, background * inside, offset * inside, r2star, agreement)


def _first_field(signal: Array, mask: Array, geometry: Geometry, acquisition: Acquisition) -> Array:
    """From the phase between the first two echoes, by least squares of its differences."""
    ramp = acquisition.phase_per_ppm
    between = jnp.angle(signal[..., 1] * jnp.conj(signal[..., 0]))
    return laplacian(between, mask, geometry) / (ramp[1] - ramp[0])


def _between(signal: Array, predicted: Array, ramp: Array) -> Array:
    """Residual of a predicted field by the phase between the first two echoes, ppm."""
    step = ramp[1] - ramp[0]
    return jnp.angle(signal[..., 1] * jnp.conj(signal[..., 0]) * jnp.exp(-1j * predicted * step)) / step


def _offset(
    signal: Array, magnitude: Array, field: Array, inside: Array, geometry: Geometry, acquisition: Acquisition
) -> Array:
    """Phase at echo time zero: where the line through what the field leaves begins, as near voxels agree."""
    ramp = acquisition.phase_per_ppm
    left = _in_time(jnp.angle(signal * jnp.exp(-1j * field[..., None] * ramp)), acquisition)
    time, squared = ramp / ramp[-1], magnitude**2
    one, first, second = (jnp.sum(squared * time**power, axis=-1) for power in range(3))
    determinant = one * second - first**2
    sure = determinant / jnp.maximum(second, 1e-30) * inside
    start = second * jnp.sum(squared * left, -1) - first * jnp.sum(squared * time * left, -1)
    start = start / jnp.where(determinant > 0, determinant, 1)
    real, imaginary = (
        spherical_mean(sure * part, OFFSET_RADIUS, geometry) for part in (jnp.cos(start), jnp.sin(start))
    )
    length = jnp.hypot(real, imaginary)
    return jnp.where(length > 0, jnp.arctan2(imaginary, jnp.where(length > 0, real, 1)), 0)


def _agreement(signal: Array, magnitude: Array, field: Array, offset: Array, ramp: Array) -> Array:
    """Part of the signal's energy that is in phase with the fit; a 2π error between echoes is not."""
    residual = jnp.angle(signal) - offset[..., None] - field[..., None] * ramp
    squared = magnitude**2
    total = squared.sum(-1)
    return jnp.where(total > 0, (squared * jnp.cos(residual)).sum(-1) / jnp.where(total > 0, total, 1), 0)


def _in_time(left: Array, acquisition: Acquisition) -> Array:
    """Residual phases with the turns that make each echo follow the last one's ramp."""
    phases, times = [left[..., 0]], acquisition.echo_times
    for echo in range(1, left.shape[-1]):
        expected = phases[-1] * times[echo] / times[echo - 1] if echo > 1 else phases[-1]
        turns = jnp.round((expected - left[..., echo]) / (2 * jnp.pi))
        phases.append(left[..., echo] + 2 * jnp.pi * jax.lax.stop_gradient(turns))
    return jnp.stack(phases, axis=-1)
