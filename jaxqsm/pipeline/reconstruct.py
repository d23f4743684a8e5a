"""From the complex signal to χ: the composition that everything else wraps."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.physics import dipole_field
from jaxqsm.pipeline.config import Config, planned
from jaxqsm.pipeline.convergence import Call, plainly
from jaxqsm.pipeline.plan import Plan
from jaxqsm.pipeline.stage import Stage, unwatched
from jaxqsm.pipeline.standard_deviation import standard_deviation_of
from jaxqsm.pipeline.susceptibility import Susceptibility, local_field_of, susceptibility
from jaxqsm.pipeline.total_field import FieldMaps, centred, field_maps, total_field

Volume = TypeVar("Volume")


class Maps(NamedTuple, Generic[Volume]):
    """The maps of a reconstruction; all arrays ``(x, y, z)``, of JAX or, on the host, of NumPy.

    Attributes:
        total_field: ppm, zero outside the given mask.
        reliability: agreement of the echoes on the total field, 0 to 1; zero outside the given mask.
        local_field: ppm, zero outside ``mask``.
        chi: ppm, mean zero in ``mask``, zero outside.
        residual: local field minus the field of ``chi``, ppm, mean zero in ``mask``.
        mask: where ``local_field`` and ``chi`` are valid.
        standard_deviation: of χ, ppm; None unless asked for.
        weight: of the inversion, where it was chosen from the data; else None.
    """

    total_field: Volume
    reliability: Volume
    local_field: Volume
    chi: Volume
    residual: Volume
    mask: Volume
    standard_deviation: Volume | None = None
    weight: Float[Array, ""] | None = None


def reconstruct(
    signal: Complex[Array, "x y z echo"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    acquisition: Acquisition,
    config: Config | Plan = Config(),
    *,
    stage: Stage = unwatched,
    call: Call = plainly,
) -> Maps[Array]:
    """Reconstruct χ from the complex signal: total field, susceptibility, residual and uncertainty.

    Composes :func:`total_field`, :func:`susceptibility`, :func:`residual` and :func:`standard_deviation_of`.
    Works under ``jit``, ``grad`` and ``vmap`` (close over ``config``). Unwrapping adds 2π multiples, whose
    derivative is zero; all else is differentiated, so a loss on χ has a gradient with respect to the complex
    signal, the field direction and the voxel size.

    Args:
        signal: complex, any unit, phase as received.
        mask: where the signal is meaningful.
        geometry: voxel size and field direction.
        acquisition: echo times and field strength.
        config: methods and options, or their plan.
        stage: surrounds every stage, e.g. to time it.
        call: carries methods out, e.g. to note how they converge.

    Returns:
        The maps.

    Raises:
        ValueError: a method needs two echoes and there is one; a bipolar readout with fewer than three, or
            at uneven intervals.

    Example:
        >>> loss = lambda s: jnp.sum(reconstruct(s, mask, geometry, acquisition).chi ** 2)
        >>> gradient = jax.grad(loss)(signal)  # doctest: +SKIP
    """
    plan = planned(config, signal.shape[-1])
    if plan.signal is not None:
        fields, found = _at_once(signal, mask, geometry, acquisition, plan, stage, call)
    else:
        fields = total_field(signal, mask, geometry, acquisition, plan, stage=stage)
        found = susceptibility(fields, geometry, plan, acquisition=acquisition, stage=stage, call=call)
    with stage("forward model") as done:
        rest = done(residual(found.local_field, found.chi, found.mask, geometry))
    return Maps(
        total_field=fields.total_field,
        reliability=fields.reliability,
        local_field=found.local_field,
        chi=found.chi,
        residual=rest,
        mask=found.mask,
        standard_deviation=_standard_deviation(fields, found, geometry, plan, stage),
        weight=found.weight,
    )


@jax.jit
def residual(
    local_field: Float[Array, "x y z"],
    chi: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
) -> Float[Array, "x y z"]:
    """Subtract the field of χ from the local field; mean zero in the mask, zero outside.

    Args:
        local_field: ppm.
        chi: ppm.
        mask: where both are valid.
        geometry: voxel size and field direction.
    """
    rest = (local_field - dipole_field(chi, geometry)) * mask
    return (rest - rest.sum() / jnp.maximum(mask.sum(), 1)) * mask


def _at_once(
    signal: Array,
    mask: Array,
    geometry: Geometry,
    acquisition: Acquisition,
    plan: Plan,
    stage: Stage,
    call: Call,
) -> tuple[FieldMaps[Array], Susceptibility[Array]]:
    """χ straight from the signal, and the fields that go with it."""
    step = plan.needed("signal")
    signal, centre = centred(signal, mask, geometry, acquisition, plan, stage=stage)
    with stage(f"signal to χ ({step.method.name})") as done:
        keywords = step.keywords(least_reliability=plan.reliability)
        found = done(call(step.method.function, signal, mask, geometry, acquisition, **keywords))
    with stage("local field") as done:
        local = done(local_field_of(found.total_field, found.chi, found.mask, geometry))
    fields = field_maps(
        found.total_field, centre, found.reliability, jnp.abs(signal), mask, found.mask, acquisition, plan
    )
    return fields, Susceptibility(local, found.chi, found.mask)


def _standard_deviation(
    fields: FieldMaps[Array],
    found: Susceptibility[Array],
    geometry: Geometry,
    plan: Plan,
    stage: Stage,
) -> Float[Array, "x y z"] | None:
    step = plan.uncertainty
    if step is None:
        return None
    with stage(f"uncertainty ({step.method.name})") as done:
        return done(
            standard_deviation_of(
                step.method,
                found.chi,
                found.local_field,
                found.mask,
                geometry,
                None if plan.inversion is None else plan.inversion.method,
                found.inverted,
                magnitude=fields.magnitude,
                weights=fields.weights,
                options=step.options,
            )
        )
