"""One scan from its arrays on the host to named maps, with what a report must tell."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxqsm import masking
from jaxqsm.field_mapping import bipolar_offset, evenly_spaced
from jaxqsm.io import InputError, ScanData
from jaxqsm.pipeline.box import box_around, cut, put_back
from jaxqsm.pipeline.config import Config
from jaxqsm.pipeline.methods import AUTO, Method
from jaxqsm.pipeline.provenance import versions
from jaxqsm.pipeline.reconstruct import Maps, Stage, reconstruct

ALTERNATING = 0.3
"""rad, root mean square, by which every second echo is off where a readout may be bipolar."""


@dataclasses.dataclass(frozen=True)
class Result:
    """Maps on the scan's own grid and their history.

    Attributes:
        maps: NumPy arrays, shape of the scan.
        mask: the mask that went in.
        seconds: time of every stage.
        notes: see :class:`~jaxqsm.io.ScanData`; more may be added.
        warnings: likewise.
        field_warnings: those of them that matter to who wants the total field alone.
        provenance: methods, options, geometry, versions …: what the JSON beside the map says.
    """

    maps: Maps[np.ndarray]
    mask: np.ndarray
    seconds: dict[str, float]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    field_warnings: tuple[str, ...]
    provenance: dict[str, Any]


def reconstruct_scan(scan: ScanData, config: Config = Config(), *, announce: Stage | None = None) -> Result:
    """Mask if there is none, cut to the mask, :func:`reconstruct`, and put back.

    Args:
        scan: from :func:`jaxqsm.io.load_scan`.
        config: methods and options.
        announce: wraps every stage, e.g. to show it to a person.

    Raises:
        InputError: no mask can be found, or a method cannot serve this scan.
    """
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = jax.block_until_ready(work() if announce is None else announce(name, work))
        seconds[name] = round(time.perf_counter() - start, 2)
        return result

    notes, warnings = list(scan.notes), list(scan.warnings)
    chosen: dict[str, float] = {}

    def settled(method: Method, keywords: Mapping[str, Any]) -> None:
        if config.options_of(method).get("weight") == AUTO:
            chosen[method.name] = keywords["weight"]
            notes.append(
                f"weight of {method.name}: {keywords['weight']:.3g}, by cross-validation of the field"
            )

    try:
        mask = timed("mask", lambda: _mask(scan))
        box = box_around(mask)
        signal = cut(scan.magnitude, box) * np.exp(1j * cut(scan.phase, box))
        found = reconstruct(
            jnp.asarray(signal, jnp.complex64),
            jnp.asarray(cut(mask, box)),
            scan.geometry,
            scan.acquisition,
            config,
            stage=timed,
            settled=settled,
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{scan.files[0]}: {error}") from error
    # A map that was not asked for is None, which is no leaf of the tree.
    maps = jax.tree.map(lambda m: put_back(np.asarray(m), box, mask.shape), found)
    notes.append("mask made from the magnitude" if scan.mask is None else "mask as given by the user")
    if scan.acquisition.echo_times.size == 1:
        notes.append("one echo: its phase offset stays in the total field")
    unreliable = mask & (maps.reliability < config.reliability)
    if unreliable.any():
        notes.append(
            f"{100 * unreliable.sum() / mask.sum():.2g} % of the mask do not count: their echoes disagree"
        )
    if not config.bipolar:
        warnings += _doubts_of_readout(signal, cut(mask, box), scan)
    return Result(
        maps=maps,
        mask=mask,
        seconds=seconds,
        notes=tuple(notes),
        warnings=(*warnings, *_doubts(maps, mask)),
        field_warnings=tuple(warnings),
        provenance=_provenance(scan, config, maps, seconds, chosen),
    )


def _mask(scan: ScanData) -> np.ndarray:
    mask = scan.mask if scan.mask is not None else masking.magnitude(scan.magnitude, scan.geometry)
    mask = mask & (scan.magnitude > 0).any(axis=-1)
    if not mask.any():
        raise InputError(f"{scan.files[0]}: no voxel of the mask has signal; pass another --mask")
    return mask


def _doubts(maps: Maps[np.ndarray], mask: np.ndarray) -> list[str]:
    """What in the result should make a person look twice."""
    if not maps.mask.any():
        raise InputError("background removal left no valid voxel: the mask is too thin; pass a larger --mask")
    doubts = []
    kept = maps.mask.sum() / mask.sum()
    if kept < 0.5:
        doubts.append(f"background removal kept only {100 * kept:.0f} % of the mask")
    if not np.isfinite(maps.chi).all():
        doubts.append("χ has NaN or infinite voxels")
    spread = np.std(maps.chi[maps.mask])
    if spread > 0.3:
        doubts.append(f"χ varies by {spread:.2f} ppm (standard deviation); tissue is near 0.05 ppm")
    misfit = _residual_percent(maps)
    if misfit > 70:
        doubts.append(f"χ explains little of the local field: residual {misfit:.0f} %")
    return doubts


def _doubts_of_readout(signal: np.ndarray, mask: np.ndarray, scan: ScanData) -> list[str]:
    """Whether echoes look as if they were read in alternating directions, which nobody said."""
    times = np.asarray(scan.acquisition.echo_times)
    if times.size < 3 or not evenly_spaced(times):
        return []
    offset = bipolar_offset(jnp.asarray(signal, jnp.complex64), jnp.asarray(mask), scan.geometry)
    size = np.sqrt(np.mean(np.asarray(offset)[mask] ** 2))
    if size < ALTERNATING:
        return []
    return [f"every second echo is off by {size:.1f} rad: if echoes alternate in direction, use --bipolar"]


def _residual_percent(maps: Maps[np.ndarray]) -> float:
    """Median size of the residual in percent of that of the local field.

    Medians, because what background removal leaves at the border would outweigh all tissue.
    """
    residual = np.median(np.abs(maps.residual[maps.mask]))
    field = np.median(np.abs(maps.local_field[maps.mask]))
    return 100 * float(residual) / max(float(field), 1e-12)


def _provenance(
    scan: ScanData,
    config: Config,
    maps: Maps[np.ndarray],
    seconds: dict[str, float],
    chosen: Mapping[str, float],
) -> dict[str, Any]:
    echoes = int(scan.acquisition.echo_times.size)
    methods: dict[str, dict[str, Any]] = {
        stage: {"method": method.name, "options": config.options_of(method), "source": method.source}
        for stage, method in config.used(echoes).items()
    }
    for method in methods.values():
        if method["method"] in chosen:
            method["options"] |= {"weight": chosen[method["method"]], "weight_chosen_by": "cross-validation"}
    return {
        "units": {"chi": "ppm", "total_field": "ppm", "local_field": "ppm"},
        "chi_reference": "mean of the valid mask is zero",
        "methods": methods,
        "least_reliability": config.reliability,
        "two_pass": config.two_pass,
        "bipolar": config.bipolar,
        "voxel_size_mm": [round(float(v), 6) for v in scan.geometry.voxel_size],
        "b0_dir_voxel_axes": [round(float(v), 6) for v in scan.geometry.unit_b0_dir],
        "echo_times_s": [round(float(t), 7) for t in scan.acquisition.echo_times],
        "field_strength_t": float(scan.acquisition.field_strength),
        "sources": [str(f) for f in scan.files],
        "residual_percent_of_local_field": round(_residual_percent(maps), 2),
        "seconds": seconds,
        "versions": versions(),
    }
