"""From the complex signal to the total field."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from jaxqsm.field_mapping import (
    bipolar_offset,
    centre_frequency,
    evenly_spaced,
    further_turns,
    precision,
    reliability,
)
from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.operators import peel
from jaxqsm.pipeline.config import Config, planned
from jaxqsm.pipeline.plan import Plan, Step
from jaxqsm.pipeline.stage import Stage, unwatched
from jaxqsm.unwrapping import align_echoes

Volume = TypeVar("Volume")
Signal = Complex[Array, "x y z echo"]
Mask = Bool[Array, "x y z"]


class FieldMaps(NamedTuple, Generic[Volume]):
    """Total field of a scan and how well it is known; all arrays ``(x, y, z)``.

    Attributes:
        total_field: ppm, zero outside the given mask.
        centred: the same without the frequency that the receiver was off by, which no source makes.
        reliability: agreement of the echoes on it, 0 to 1; zero outside the given mask.
        magnitude: root of the sum of squares over echoes, any unit.
        weights: precision of the field, 1/ppm, zero where it is not reliable.
        mask: the given one without unreliable voxels at its border.
    """

    total_field: Volume
    centred: Volume
    reliability: Volume
    magnitude: Volume
    weights: Volume
    mask: Volume


def total_field(
    signal: Signal,
    mask: Mask,
    geometry: Geometry,
    acquisition: Acquisition,
    config: Config | Plan = Config(),
    *,
    stage: Stage = unwatched,
) -> FieldMaps[Array]:
    """Centre the frequency, remove the phase offset, unwrap, and fit the field over the echoes.

    Voxels whose echoes disagree (unwrapping errors, noise) are peeled off the mask where they reach its
    border, and have no weight where they lie within. A constant frequency is taken off first and given back
    to the field at the end, so that no wrap depends on it.

    Args:
        signal: complex, any unit, phase as received.
        mask: where the signal is meaningful.
        geometry: voxel size and field direction.
        acquisition: echo times and field strength.
        config: methods and options, or their plan.
        stage: surrounds every stage.

    Returns:
        The field and its weights. Differentiable: unwrapping adds 2π multiples, whose derivative is zero.

    Raises:
        ValueError: a method needs two echoes and there is one; a bipolar readout with fewer than three, or
            at uneven intervals.

    Example:
        >>> fields = total_field(signal, mask, geometry, acquisition)  # doctest: +SKIP
        >>> fields.total_field.shape == mask.shape  # doctest: +SKIP
        True
    """
    plan = planned(config, signal.shape[-1])
    signal, centre = centred(signal, mask, geometry, acquisition, plan, stage=stage)
    safe, magnitude = _without_empty_voxels(signal)
    if plan.phase_offset is not None:
        with stage("phase offset") as done:
            offset, difference = _phase_offset(safe, magnitude, mask, geometry, acquisition, plan)
            safe = done(safe * jnp.exp(-1j * offset)[..., None])
        if signal.shape[-1] > 2:
            times = acquisition.echo_times
            turns = jax.lax.stop_gradient(
                further_turns(safe * mask[..., None], difference, mask, acquisition)
            )
            safe = _shifted(safe, turns * (times - times[0]) / (times[1] - times[0]))
            centre = centre + turns / (times[1] - times[0])
    wrapped = jnp.angle(safe)
    with stage("unwrapping") as done:
        phase = _unwrap(plan.needed("unwrapping"), wrapped, mask, geometry, magnitude, acquisition.echo_times)
        phase = done(align_echoes(phase, mask, acquisition.echo_times))
    fit = plan.needed("field_mapping")
    with stage("field mapping") as done:
        total = done(fit.method.function(phase, magnitude, mask, acquisition, **fit.options))
    coherence = reliability(wrapped, magnitude, total, acquisition) * mask
    inner = peel(mask, coherence < plan.reliability)
    return field_maps(total, centre, coherence, magnitude, mask, inner, acquisition, plan)


def field_maps(
    centred: Float[Array, "x y z"],
    centre: Float[Array, ""],
    reliability: Float[Array, "x y z"],
    magnitude: Float[Array, "x y z echo"],
    mask: Mask,
    inner: Mask,
    acquisition: Acquisition,
    plan: Plan,
) -> FieldMaps[Array]:
    """Collect what a total field comes with.

    Args:
        centred: total field in ppm without the centre frequency.
        centre: that frequency, Hz.
        reliability: 0 to 1; voxels below that of the plan have no weight.
        magnitude: of every echo, any unit.
        mask: where the signal is meaningful.
        inner: where the field is.
        acquisition: echo times and field strength.
        plan: with the least reliability.
    """
    return FieldMaps(
        # The frequency that was taken off the signal is given back.
        total_field=centred + centre / acquisition.hertz_per_ppm * mask,
        centred=centred,
        reliability=reliability,
        magnitude=jnp.sqrt(jnp.sum(magnitude**2, axis=-1)),
        weights=jnp.where(reliability < plan.reliability, 0, precision(magnitude, acquisition)),
        mask=inner,
    )


def centred(
    signal: Signal,
    mask: Mask,
    geometry: Geometry,
    acquisition: Acquisition,
    plan: Plan,
    *,
    stage: Stage = unwatched,
) -> tuple[Signal, Float[Array, ""]]:
    """Make the readout monopolar and take the constant frequency off; returns the signal and the Hz."""
    if plan.bipolar:
        with stage("bipolar readout") as done:
            signal = done(_monopolar(signal, mask, geometry, acquisition))
    # Held in derivatives: what is taken off the signal is given back to the field.
    centre = jax.lax.stop_gradient(centre_frequency(signal, mask, acquisition))
    return _shifted(signal, centre * acquisition.echo_times), centre


def _without_empty_voxels(signal: Signal) -> tuple[Signal, Float[Array, "x y z echo"]]:
    """Signal of 1 where there is none, and the magnitude: atan2(0, 0) would poison gradients with NaN."""
    empty = signal == 0
    safe = jnp.where(empty, 1, signal)
    return safe, jnp.where(empty, 0, jnp.abs(safe))


def _shifted(signal: Signal, turns: Array) -> Signal:
    """Signal with its echoes turned back by as many turns."""
    return signal * jnp.exp(-2j * jnp.pi * (turns - jnp.round(turns)))


def _monopolar(signal: Signal, mask: Mask, geometry: Geometry, acquisition: Acquisition) -> Signal:
    times = acquisition.echo_times
    if times.size > 2 and not isinstance(times, jax.core.Tracer) and not evenly_spaced(np.asarray(times)):
        raise ValueError("bipolar: the first three echoes are not at even intervals, as it needs")
    offset = bipolar_offset(signal, mask, geometry)
    backwards = jnp.arange(signal.shape[-1]) % 2 == 1
    return signal * jnp.where(backwards, jnp.exp(-1j * offset)[..., None], 1)


def _phase_offset(
    signal: Signal,
    magnitude: Float[Array, "x y z echo"],
    mask: Mask,
    geometry: Geometry,
    acquisition: Acquisition,
    plan: Plan,
) -> tuple[Float[Array, "x y z"], Float[Array, "x y z"]]:
    """Phase offset, and the unwrapped difference of the first two echoes that it follows from."""
    step = plan.needed("phase_offset")
    difference = jnp.angle(signal[..., 1] * jnp.conj(signal[..., 0]))
    smaller = jnp.minimum(magnitude[..., 0], magnitude[..., 1])
    difference = _unwrap(plan.needed("unwrapping"), difference, mask, geometry, smaller, None)
    phase = jnp.angle(signal)
    offset = step.method.function(phase, difference, magnitude, mask, geometry, acquisition, **step.options)
    return offset, difference


def _unwrap(
    step: Step, wrapped: Array, mask: Mask, geometry: Geometry, magnitude: Array, echo_times: Array | None
) -> Array:
    keywords = step.keywords(magnitude=magnitude, echo_times=echo_times)
    return step.method.function(wrapped, mask, geometry, **keywords)
