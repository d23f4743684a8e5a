"""From the complex signal to χ: the composition that everything else wraps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex

from jaxqsm.field_mapping import (
    bipolar_offset,
    centre_frequency,
    evenly_spaced,
    further_turns,
    precision,
    reliability,
)
from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.methods import Method
from jaxqsm.operators import peel, subtract_harmonic_extension
from jaxqsm.physics import dipole_field
from jaxqsm.pipeline.config import Config
from jaxqsm.pipeline.standard_deviation import standard_standard_deviation_of
from jaxqsm.unwrapping import align_echoes
from jaxqsm.variational.common import referenced

Volume = TypeVar("Volume")


class Maps(NamedTuple, Generic[Volume]):
    """What a reconstruction yields; all arrays ``(x, y, z)``, of JAX or, on the host, of NumPy.

    Attributes:
        total_field: ppm, zero outside the given mask.
        reliability: how far the echoes agree on the total field, 0 to 1; zero outside the given mask.
        local_field: ppm, zero outside ``mask``.
        chi: ppm, mean zero in ``mask``, zero outside.
        residual: local field minus the field of ``chi``, ppm, mean zero in ``mask``.
        mask: where ``local_field`` and ``chi`` are valid.
        standard_deviation: standard deviation of χ, ppm; None unless asked for.
    """

    total_field: Volume
    reliability: Volume
    local_field: Volume
    chi: Volume
    residual: Volume
    mask: Volume
    standard_deviation: Volume | None = None


class Stage(Protocol):
    """How a stage is carried out: e.g. timed, or announced to a person."""

    def __call__(self, name: str, work: Callable[[], Any]) -> Any: ...


Settled = Callable[[Method, Mapping[str, Any]], None]
"""Is told what options a method is called with."""


def _carry_out(name: str, work: Callable[[], Any]) -> Any:
    del name
    return work()


def reconstruct(
    signal: Complex[Array, "x y z echo"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    acquisition: Acquisition,
    config: Config = Config(),
    *,
    stage: Stage = _carry_out,
    settled: Settled = lambda method, keywords: None,
) -> Maps[Array]:
    """Remove the phase offset, unwrap, fit the field, remove the background and invert, or all in one.

    Voxels whose echoes disagree (wrong turns, noise) are peeled off the mask where they reach its
    border, and weigh nothing in what follows where they lie within.

    Works under ``jit``, ``grad`` and ``vmap`` (close over ``config``). Unwrapping adds whole turns,
    whose derivative is zero; all else is differentiated, so a loss on χ has a gradient with respect
    to the complex signal, the field direction and the voxel size.

    Args:
        signal: complex, any unit, phase as received.
        mask: where the signal is meaningful.
        geometry: voxel size and field direction.
        acquisition: echo times and field strength.
        config: methods and options.
        stage: wraps every stage: called with its name and the work.
        settled: is told the options of an inversion, with numbers where they are chosen from the data.

    Returns:
        The maps.

    Raises:
        ValueError: a method needs two echoes and there is one; a bipolar readout with fewer than three, or
            at uneven intervals.

    Example:
        >>> loss = lambda s: jnp.sum(reconstruct(s, mask, geometry, acquisition).chi ** 2)
        >>> gradient = jax.grad(loss)(signal)  # doctest: +SKIP
    """
    echoes = signal.shape[-1]
    at_once = config.method("signal", echoes)
    if at_once is not None:
        signal = _read_one_way(signal, mask, geometry, acquisition, config, stage)
        centre = jax.lax.stop_gradient(centre_frequency(signal, mask, acquisition))
        signal = _shifted(signal, centre * acquisition.echo_times)
        options = config.options_of(at_once) | {"least_reliability": config.reliability}
        found = stage(
            f"signal to χ ({at_once.name})",
            lambda: at_once.function(signal, mask, geometry, acquisition, **options),
        )
        local = stage("local field", lambda: _local_field(found.total_field, found.chi, found.mask, geometry))
        sure = jnp.where(found.reliability < config.reliability, 0, precision(jnp.abs(signal), acquisition))
        fields = _with_centre(found.total_field, centre, mask, acquisition), found.reliability, local
        return _completed(fields, found.chi, found.mask, sure, geometry, config, stage)
    measured = total_field(signal, mask, geometry, acquisition, config, stage=stage)
    total, kept, weights = measured.centred, measured.mask, measured.weights

    def at_its_weight(method: Method, field: Array, within: Array) -> Any:
        keywords = method.settled(field, within, geometry, _keywords(method, config, weights))
        settled(method, keywords)
        return method.function(field, within, geometry, **keywords), keywords

    inverted: tuple[Method, Mapping[str, Any]] | tuple[()] = ()
    single_step = config.method("single_step", echoes)
    if single_step is not None:
        name = f"single step ({single_step.name})"
        (chi, valid), _ = stage(name, lambda: at_its_weight(single_step, total, kept))
        local = stage("local field", lambda: _local_field(total, chi, valid, geometry))
    else:
        remove = _chosen(config, "background", echoes)
        local, valid = stage(
            f"background ({remove.name})",
            lambda: remove.function(total, kept, geometry, **_keywords(remove, config, weights)),
        )
        invert = _chosen(config, "inversion", echoes)
        chi, options = stage(f"inversion ({invert.name})", lambda: at_its_weight(invert, local, valid))
        inverted = invert, options
        if config.two_pass:
            reliable = valid & (weights > 0)
            again = stage(
                f"second pass ({invert.name})",
                lambda: invert.function(local, reliable, geometry, **options),
            )
            chi = _filled(again, reliable, chi, valid)
    fields = measured.total_field, measured.reliability, local
    return _completed(fields, chi, valid, weights, geometry, config, stage, inverted)


class FieldMaps(NamedTuple, Generic[Volume]):
    """Total field of a scan and how sure it is; all arrays ``(x, y, z)``.

    Attributes:
        total_field: ppm, zero outside the given mask.
        centred: the same without the frequency that the receiver was off by, which no source makes.
        reliability: how far the echoes agree on it, 0 to 1; zero outside the given mask.
        weights: precision of the field, 1/ppm, zero where it is not reliable.
        mask: the given one without unreliable voxels at its border.
    """

    total_field: Volume
    centred: Volume
    reliability: Volume
    weights: Volume
    mask: Volume


def total_field(
    signal: Complex[Array, "x y z echo"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    acquisition: Acquisition,
    config: Config = Config(),
    *,
    stage: Stage = _carry_out,
) -> FieldMaps[Array]:
    """Centre the frequency, remove the phase offset, unwrap, and fit the field over the echoes.

    Arguments and errors are those of :func:`reconstruct`. A constant frequency is taken off first and given
    back to the field at the end, so that no wrap depends on it.
    """
    echoes = signal.shape[-1]
    signal = _read_one_way(signal, mask, geometry, acquisition, config, stage)
    # Held in derivatives: what is taken off the signal is given back to the field.
    centre = jax.lax.stop_gradient(centre_frequency(signal, mask, acquisition))
    signal = _shifted(signal, centre * acquisition.echo_times)
    offset_method = config.method("phase_offset", echoes)
    if echoes < 2 and offset_method is not None:
        raise ValueError(f"phase offset by {offset_method.name} needs two echoes; this scan has one")
    fit = _chosen(config, "field_mapping", echoes)
    if echoes < 2 and config.options_of(fit)["intercept"]:
        raise ValueError(f"{fit.name} with intercept needs two echoes; this scan has one")

    # A voxel without signal has no phase: atan2(0, 0) would poison gradients with NaN.
    empty = signal == 0
    safe = jnp.where(empty, 1, signal)
    magnitude = jnp.where(empty, 0, jnp.abs(safe))
    if offset_method is not None:
        offset, difference = stage(
            "phase offset",
            lambda: _phase_offset(safe, magnitude, mask, geometry, acquisition, config),
        )
        safe = safe * jnp.exp(-1j * offset)[..., None]
        if echoes > 2:
            times = acquisition.echo_times
            turns = jax.lax.stop_gradient(
                further_turns(safe * mask[..., None], difference, mask, acquisition)
            )
            safe = _shifted(safe, turns * (times - times[0]) / (times[1] - times[0]))
            centre = centre + turns / (times[1] - times[0])
    wrapped = jnp.angle(safe)
    phase = stage(
        "unwrapping",
        lambda: _unwrap(wrapped, magnitude, mask, geometry, acquisition.echo_times, config),
    )
    total = stage(
        "field mapping",
        lambda: fit.function(phase, magnitude, mask, acquisition, **config.options_of(fit)),
    )
    coherence = reliability(wrapped, magnitude, total, acquisition) * mask
    unreliable = coherence < config.reliability
    return FieldMaps(
        total_field=_with_centre(total, centre, mask, acquisition),
        centred=total,
        reliability=coherence,
        weights=jnp.where(unreliable, 0, precision(magnitude, acquisition)),
        mask=peel(mask, unreliable),
    )


def _read_one_way(
    signal: Array, mask: Array, geometry: Geometry, acquisition: Acquisition, config: Config, stage: Stage
) -> Array:
    if not config.bipolar:
        return signal
    return stage("bipolar readout", lambda: _monopolar(signal, mask, geometry, acquisition))


def _shifted(signal: Array, turns: Array) -> Array:
    """Signal with its echoes turned back by as many turns."""
    return signal * jnp.exp(-2j * jnp.pi * (turns - jnp.round(turns)))


def _with_centre(field: Array, centre: Array, mask: Array, acquisition: Acquisition) -> Array:
    """Field in ppm with the frequency in Hz that was taken off the signal."""
    return field + centre / acquisition.hertz_per_ppm * mask


def _filled(chi: Array, reliable: Bool[Array, "x y z"], other: Array, mask: Bool[Array, "x y z"]) -> Array:
    """χ of the reliable voxels, and the other where there is none, at the offset where their means agree.

    Source: Stewart et al. 2022, MRM 87:1289, doi:10.1002/mrm.29048 (QSMxT, two-pass combination).
    """
    offset = jnp.sum((other - chi) * reliable) / jnp.maximum(reliable.sum(), 1)
    return referenced(jnp.where(reliable, chi + offset, other), mask)


def _completed(
    fields: tuple[Array, Array, Array],
    chi: Array,
    mask: Array,
    weights: Array,
    geometry: Geometry,
    config: Config,
    stage: Stage,
    inverted: tuple[Method, Mapping[str, Any]] | tuple[()] = (),
) -> Maps[Array]:
    """With the residual, and with the deviation where that is asked for."""
    total, coherence, local = fields
    residual = stage("forward model", lambda: _residual(local, chi, mask, geometry))
    maps = Maps(total, coherence, local, chi, residual, mask)
    method = config.method("uncertainty", 2)
    if method is None:
        return maps
    standard_deviation = stage(
        f"uncertainty ({method.name})",
        lambda: standard_standard_deviation_of(
            method,
            chi,
            local,
            mask,
            geometry,
            *inverted,
            magnitude=weights,
            options=config.options_of(method),
        ),
    )
    return maps._replace(standard_deviation=standard_deviation)


def _chosen(config: Config, stage: str, echoes: int) -> Method:
    method = config.method(stage, echoes)
    assert method is not None  # only the phase offset may be left out
    return method


def _keywords(method: Method, config: Config, magnitude: Array) -> dict[str, Any]:
    keywords = config.options_of(method)
    return keywords | {"magnitude": magnitude} if method.takes_magnitude else keywords


def _monopolar(signal: Array, mask: Array, geometry: Geometry, acquisition: Acquisition) -> Array:
    times = acquisition.echo_times
    if times.size > 2 and not isinstance(times, jax.core.Tracer) and not evenly_spaced(np.asarray(times)):
        raise ValueError("bipolar: the first three echoes are not at even intervals, as it needs")
    offset = bipolar_offset(signal, mask, geometry)
    backwards = jnp.arange(signal.shape[-1]) % 2 == 1
    return signal * jnp.where(backwards, jnp.exp(-1j * offset)[..., None], 1)


def _phase_offset(
    signal: Array,
    magnitude: Array,
    mask: Array,
    geometry: Geometry,
    acquisition: Acquisition,
    config: Config,
) -> tuple[Array, Array]:
    """Phase offset, and the unwrapped difference of the first two echoes that it follows from."""
    method = _chosen(config, "phase_offset", 2)
    difference = jnp.angle(signal[..., 1] * jnp.conj(signal[..., 0]))
    unwrap = _chosen(config, "unwrapping", 2)
    smaller = jnp.minimum(magnitude[..., 0], magnitude[..., 1])
    difference = unwrap.function(
        difference, mask, geometry, **_unwrapping_keywords(unwrap, config, smaller, None)
    )
    offset = method.function(
        jnp.angle(signal),
        difference,
        magnitude,
        mask,
        geometry,
        acquisition,
        **config.options_of(method),
    )
    return offset, difference


def _unwrap(
    phase: Array,
    magnitude: Array,
    mask: Array,
    geometry: Geometry,
    echo_times: Array,
    config: Config,
) -> Array:
    unwrap = _chosen(config, "unwrapping", 2)
    keywords = _unwrapping_keywords(unwrap, config, magnitude, echo_times)
    return align_echoes(unwrap.function(phase, mask, geometry, **keywords), mask, echo_times)


def _unwrapping_keywords(
    method: Method, config: Config, magnitude: Array, echo_times: Array | None
) -> dict[str, Any]:
    keywords = config.options_of(method)
    for name, value in (("magnitude", magnitude), ("echo_times", echo_times)):
        if method.takes(name):
            keywords[name] = value
    return keywords


@jax.jit
def _local_field(total_field: Array, chi: Array, mask: Array, geometry: Geometry) -> Array:
    """The total field less a harmonic one, such that on the border of the mask it is the field of χ."""
    explained = dipole_field(chi, geometry)
    rest, _ = subtract_harmonic_extension(total_field - explained, mask, geometry)
    return (explained + rest) * mask


@jax.jit
def _residual(local_field: Array, chi: Array, mask: Array, geometry: Geometry) -> Array:
    residual = (local_field - dipole_field(chi, geometry)) * mask
    return (residual - residual.sum() / jnp.maximum(mask.sum(), 1)) * mask
