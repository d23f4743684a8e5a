"""From the total field to susceptibility, in two stages or one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.operators import MaskedVolume, subtract_harmonic_extension
from jaxqsm.physics import dipole_field
from jaxqsm.pipeline.config import Config, planned
from jaxqsm.pipeline.convergence import Call, plainly
from jaxqsm.pipeline.plan import Plan, Step
from jaxqsm.pipeline.stage import Stage, unwatched
from jaxqsm.pipeline.total_field import FieldMaps
from jaxqsm.variational.common import referenced

Volume = TypeVar("Volume")


class Susceptibility(NamedTuple, Generic[Volume]):
    """χ and the local field that it explains.

    Attributes:
        local_field: ppm, zero outside ``mask``.
        chi: ppm, mean zero in ``mask``, zero outside.
        mask: where both are valid.
        weight: of the inversion, where it was chosen from the data; else None.
        inverted: keyword arguments that the inversion was called with; empty for a single step.
    """

    local_field: Volume
    chi: Volume
    mask: Volume
    weight: Float[Array, ""] | None = None
    inverted: Mapping[str, Any] = {}


def local_field(
    fields: FieldMaps[Array],
    geometry: Geometry,
    config: Config | Plan,
    *,
    stage: Stage = unwatched,
    call: Call = plainly,
) -> MaskedVolume:
    """Remove the background from a total field.

    Args:
        fields: from :func:`jaxqsm.pipeline.total_field`.
        geometry: voxel size and field direction.
        config: methods and options with a background removal, or their plan.
        stage: surrounds the work.
        call: carries it out.

    Returns:
        Local field in ppm, and the mask where it is valid.
    """
    plan = planned(config, 2)
    step = plan.needed("background")
    with stage(f"background ({step.method.name})") as done:
        keywords = step.keywords(magnitude=fields.magnitude, weights=fields.weights)
        found: MaskedVolume = done(
            call(step.method.function, fields.centred, fields.mask, geometry, **keywords)
        )
        return found


def susceptibility(
    fields: FieldMaps[Array],
    geometry: Geometry,
    config: Config | Plan = Config(),
    *,
    acquisition: Acquisition | None = None,
    stage: Stage = unwatched,
    call: Call = plainly,
) -> Susceptibility[Array]:
    """Find χ from a total field: in a single step, or by background removal and inversion.

    Args:
        fields: from :func:`jaxqsm.pipeline.total_field`. Data are weighed by its ``weights``; edges are those
            of its ``magnitude``.
        geometry: voxel size and field direction.
        config: methods and options, or their plan.
        acquisition: for inversions whose data term is that of the phase.
        stage: surrounds every stage.
        call: carries methods out, e.g. to note how they converge.

    Returns:
        χ, the local field and their mask.
    """
    plan = planned(config, 2)
    if plan.single_step is not None:
        step = plan.single_step
        with stage(f"single step ({step.method.name})") as done:
            keywords = _settled(step, fields.centred, fields.mask, geometry, fields, acquisition)
            chi, valid = done(call(step.method.function, fields.centred, fields.mask, geometry, **keywords))
        with stage("local field") as done:
            local = done(local_field_of(fields.centred, chi, valid, geometry))
        return Susceptibility(local, chi, valid, _chosen(step, keywords))
    local, valid = local_field(fields, geometry, plan, stage=stage, call=call)
    step = plan.needed("inversion")
    with stage(f"inversion ({step.method.name})") as done:
        keywords = _settled(step, local, valid, geometry, fields, acquisition)
        chi = done(call(step.method.function, local, valid, geometry, **keywords))
    if plan.two_pass:
        reliable = valid & (fields.weights > 0)
        with stage(f"second pass ({step.method.name})") as done:
            again = call(step.method.function, local, reliable, geometry, **keywords)
            chi = done(_filled(again, reliable, chi, valid))
    return Susceptibility(local, chi, valid, _chosen(step, keywords), keywords)


@jax.jit
def local_field_of(
    total_field: Float[Array, "x y z"],
    chi: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
) -> Float[Array, "x y z"]:
    """Subtract a harmonic field from the total one, such that the rest is the field of χ on the border.

    Args:
        total_field: ppm.
        chi: ppm, of a method without a local field of its own.
        mask: where χ is valid.
        geometry: voxel size and field direction.
    """
    explained = dipole_field(chi, geometry)
    rest, _ = subtract_harmonic_extension(total_field - explained, mask, geometry)
    return (explained + rest) * mask


def _settled(
    step: Step,
    field: Array,
    mask: Array,
    geometry: Geometry,
    fields: FieldMaps[Array],
    acquisition: Acquisition | None,
) -> dict[str, Any]:
    """Keyword arguments of an inversion, its weight found where none is set."""
    keywords = step.keywords(magnitude=fields.magnitude, weights=fields.weights, acquisition=acquisition)
    return step.method.settled(field, mask, geometry, keywords)


def _chosen(step: Step, keywords: Mapping[str, Any]) -> Float[Array, ""] | None:
    return keywords["weight"] if step.method.searches(step.options) else None


def _filled(chi: Array, reliable: Bool[Array, "x y z"], other: Array, mask: Bool[Array, "x y z"]) -> Array:
    """χ of the reliable voxels, and the other where there is none, at the offset where their means agree.

    Source: Stewart et al. 2022, MRM 87:1289, doi:10.1002/mrm.29048 (QSMxT, two-pass combination).
    """
    offset = jnp.sum((other - chi) * reliable) / jnp.maximum(reliable.sum(), 1)
    return referenced(jnp.where(reliable, chi + offset, other), mask)
