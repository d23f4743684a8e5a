"""One scan from its arrays on the host to named maps, with what a report must tell."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxqsm.io import InputError, ScanData, require_finite
from jaxqsm.pipeline.box import cut, put_back
from jaxqsm.pipeline.config import Config
from jaxqsm.pipeline.convergence import described, noting, unfinished
from jaxqsm.pipeline.doubts import (
    doubts_of_echoes,
    doubts_of_maps,
    residual_percent,
    why_nothing_is_left,
)
from jaxqsm.pipeline.plan import Plan
from jaxqsm.pipeline.preparation import MaskConfig, Prepared, prepare
from jaxqsm.pipeline.provenance import versions
from jaxqsm.pipeline.reconstruct import Maps, reconstruct
from jaxqsm.pipeline.stage import Stage, unwatched
from jaxqsm.pipeline.total_field import FieldMaps, total_field
from jaxqsm.solvers import Convergence


@dataclasses.dataclass(frozen=True)
class Result:
    """Maps on the scan's own grid and their history.

    Attributes:
        maps: NumPy arrays, shape of the scan.
        mask: the mask that went in.
        seconds: time of every stage.
        notes: see :class:`~jaxqsm.io.ScanData`; more may be added.
        warnings: likewise.
        provenance: methods, options, geometry, versions …: what the JSON beside the map says.
    """

    maps: Maps[np.ndarray]
    mask: np.ndarray
    seconds: dict[str, float]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    provenance: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class FieldResult:
    """Total field on the scan's own grid, and what a person should know of it; as :class:`Result`."""

    maps: FieldMaps[np.ndarray]
    mask: np.ndarray
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def reconstruct_scan(
    scan: ScanData,
    config: Config = Config(),
    masking: MaskConfig = MaskConfig(),
    *,
    announce: Stage | None = None,
) -> Result:
    """Reconstruct a scan: mask if there is none, cut, :func:`reconstruct`, and put back.

    Lengths that are not set follow the size of the object: the methods are given the voxel size that it would
    have as large as an adult's brain, and lengths that are set as many times longer.

    Args:
        scan: from :func:`jaxqsm.io.load_scan`.
        config: methods and options, in true mm.
        masking: how the mask is made where none is given.
        announce: surrounds every stage, e.g. to show it to a person.

    Raises:
        InputError: no mask can be found, or a method cannot serve this scan.
    """
    seconds: dict[str, float] = {}
    timed = _timed(seconds, announce)
    prepared = prepare(scan, masking, bipolar=config.bipolar, stage=timed)
    plan = _plan(scan, config, prepared)
    ended: dict[str, tuple[Convergence, ...]] = {}
    found = _of_scan(scan, prepared, partial(reconstruct, config=plan, stage=timed, call=noting(ended)))
    # A map that was not asked for is None, which is no leaf of the tree.
    maps: Maps[np.ndarray] = found._replace(weight=None)
    maps = jax.tree.map(lambda m: put_back(np.asarray(m), prepared.box, prepared.mask.shape), maps)
    mask = prepared.mask
    unreliable = mask & (maps.reliability < config.reliability)
    notes = [*scan.notes, *prepared.notes]
    weights = {}
    if found.weight is not None:
        method = (plan.inversion or plan.needed("single_step")).method
        weights[method.name] = method.option("weight").times(float(found.weight), prepared.scale)
        notes.append(f"weight of {method.name}: {weights[method.name]:.3g}, by cross-validation of the field")
    notes += _share(unreliable, mask)
    if not maps.mask.any():
        narrowing = {
            step.method.name: step.stated
            for stage, step in plan.steps.items()
            if stage in ("background", "single_step", "signal")
        }
        cause = why_nothing_is_left(mask, unreliable, scan.geometry, narrowing, least=config.reliability)
        raise InputError(f"{scan.files[0]}: no voxel of χ is valid: {cause}")
    require_finite({f"{scan.files[0]}: {name}": v for name, v in maps._asdict().items() if v is not None})
    return Result(
        maps=maps,
        mask=mask,
        seconds=seconds,
        notes=tuple(notes),
        warnings=(
            *scan.warnings,
            *prepared.warnings,
            *doubts_of_echoes(mask, unreliable, config.reliability),
            *doubts_of_maps(maps, mask, scan.geometry, prepared.scale),
            *unfinished(ended),
        ),
        provenance=_provenance(scan, plan, masking, prepared, maps, seconds, weights, ended),
    )


def map_field(
    scan: ScanData,
    config: Config = Config(),
    masking: MaskConfig = MaskConfig(),
    *,
    announce: Stage | None = None,
) -> FieldResult:
    """Map the total field as :func:`reconstruct_scan` does, and stop there."""
    timed = _timed({}, announce)
    prepared = prepare(scan, masking, bipolar=config.bipolar, stage=timed)
    plan = _plan(scan, config, prepared)
    found = _of_scan(scan, prepared, partial(total_field, config=plan, stage=timed))
    maps = jax.tree.map(lambda m: put_back(np.asarray(m), prepared.box, prepared.mask.shape), found)
    unreliable = prepared.mask & (maps.reliability < config.reliability)
    notes = [*prepared.notes, *_share(unreliable, prepared.mask)]
    doubts = doubts_of_echoes(prepared.mask, unreliable, config.reliability)
    warnings = (*scan.warnings, *prepared.warnings, *doubts)
    return FieldResult(maps, prepared.mask, (*scan.notes, *notes), warnings)


def _timed(seconds: dict[str, float], announce: Stage | None) -> Stage:
    @contextlib.contextmanager
    def timed(name: str) -> Iterator[Callable[[Any], Any]]:
        start = time.perf_counter()
        with (announce or unwatched)(name) as done:
            yield lambda result: jax.block_until_ready(done(result))
        seconds[name] = round(time.perf_counter() - start, 2)

    return timed


def _plan(scan: ScanData, config: Config, prepared: Prepared) -> Plan:
    try:
        return config.plan(int(scan.acquisition.echo_times.size), scale=prepared.scale)
    except ValueError as error:
        raise InputError(f"{scan.files[0]}: {error}") from error


def _of_scan(scan: ScanData, prepared: Prepared, work: Callable[..., Any]) -> Any:
    """Work on signal, mask, geometry and acquisition, as for an object of an adult's size."""
    try:
        return work(
            jnp.asarray(prepared.signal),
            jnp.asarray(cut(prepared.mask, prepared.box)),
            scan.geometry.scaled(1 / prepared.scale),
            scan.acquisition,
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{scan.files[0]}: {error}") from error


def _share(unreliable: np.ndarray, mask: np.ndarray) -> list[str]:
    if not unreliable.any():
        return []
    share = 100 * unreliable.sum() / mask.sum()
    return [f"{share:.2g} % of the mask do not count: their echoes disagree"]


def _provenance(
    scan: ScanData,
    plan: Plan,
    masking: MaskConfig,
    prepared: Prepared,
    maps: Maps[np.ndarray],
    seconds: dict[str, float],
    weights: Mapping[str, float],
    ended: Mapping[str, tuple[Convergence, ...]],
) -> dict[str, Any]:
    methods: dict[str, dict[str, Any]] = {
        stage: {
            "method": step.method.name,
            "import_path": step.method.path,
            "options": dict(step.stated),
            "source": step.method.source,
        }
        for stage, step in plan.steps.items()
    }
    for method in methods.values():
        if method["method"] in weights:
            method["options"] |= {"weight": weights[method["method"]], "weight_chosen_by": "cross-validation"}
        if method["method"] in ended:
            method["convergence"] = described(ended[method["method"]])
    grid = scan.grid
    direction = grid.stored_direction(np.asarray(scan.geometry.unit_b0_dir))
    return {
        "units": {"chi": "ppm", "total_field": "ppm", "local_field": "ppm"},
        "chi_reference": "mean of the valid mask is zero",
        "methods": methods,
        "mask": {
            "method": "given" if scan.mask is not None else masking.method,
            "erosion_mm": masking.erosion,
        },
        "object_scale": round(prepared.scale, 4),
        "least_reliability": plan.reliability,
        "two_pass": plan.two_pass,
        "bipolar": plan.bipolar,
        "voxel_size_mm": [
            round(float(v), 6) for v in grid.stored_sizes(np.asarray(scan.geometry.voxel_size))
        ],
        "b0_dir_voxel_axes": [round(float(v), 6) for v in direction],
        "echo_times_s": [round(float(t), 7) for t in scan.acquisition.echo_times],
        "field_strength_t": float(scan.acquisition.field_strength),
        "sources": [str(f) for f in scan.files],
        "residual_percent_of_local_field": round(residual_percent(maps), 2),
        "seconds": seconds,
        "versions": versions(),
    }
