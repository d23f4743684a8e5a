"""The page: figures, scores, parameters and doubts of one reconstruction."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from jaxqsm.io import ScanData
from jaxqsm.pipeline import Result
from jaxqsm.report.figures import histogram, three_views

CHI_WINDOW = (-0.1, 0.1)
"""ppm; the field's usual grey window."""


def write_report(
    path: Path,
    scan: ScanData,
    result: Result,
    *,
    title: str,
    scores: Mapping[str, Any] | None = None,
) -> None:
    """Write one self-contained HTML file: no network, no other file needed.

    Args:
        path: where to.
        scan: what went in.
        result: what came out.
        title: heading, e.g. the name of the scan.
        scores: optional numbers against a known truth, name to value.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxqsm.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    maps = result.maps
    inside = maps.chi[maps.mask]
    page = environment.get_template("report.html.j2").render(
        title=title,
        made=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        panels=_panels(scan, result),
        histogram=histogram(inside, limits=(-0.25, 0.25), unit="χ in ppm"),
        numbers=_numbers(result),
        scores=dict(scores or {}),
        notes=result.notes,
        warnings=result.warnings,
        provenance=result.provenance,
        seconds=result.seconds,
        total_seconds=sum(result.seconds.values()),
    )
    path.write_text(page, encoding="utf-8", errors="replace")  # paths need not be UTF-8


def _panels(scan: ScanData, result: Result) -> list[dict[str, str]]:
    maps = result.maps

    def panel(name: str, text: str, volume: np.ndarray, mask: np.ndarray, **style: Any) -> dict[str, str]:
        figure = three_views(volume, mask, scan.grid.affine, **style)
        return {"name": name, "text": text, "figure": figure}

    first = scan.magnitude[..., 0]
    bright = float(np.percentile(first[result.mask], 99.5))
    echo = f"echo 1, {1000 * float(scan.acquisition.echo_times[0]):.3g} ms"
    total = maps.total_field[result.mask]
    middle = float(np.median(total))
    reach = max(float(np.percentile(np.abs(total - middle), 98)), 1e-6)
    local = max(float(np.percentile(np.abs(maps.local_field[maps.mask]), 99)), 1e-6)
    field = {"unit": "ppm of B0"}
    return [
        panel(
            "Susceptibility χ",
            "Iron and venous blood bright, calcium and myelin dark. Outline: where χ is valid.",
            maps.chi, maps.mask, window=CHI_WINDOW, unit="ppm",
        ),
        panel("Magnitude", f"{echo}. Outline: the mask that was used.", first, result.mask,
              window=(0.0, bright), unit="of the largest"),
        panel("Phase", f"{echo}, as received (wrapped).", scan.phase[..., 0], result.mask,
              window=(-np.pi, np.pi), unit="rad"),
        panel("Total field", "After unwrapping and the fit over echoes.", maps.total_field, result.mask,
              window=(middle - reach, middle + reach), **field),
        panel("Reliability", "Agreement of the echoes of each voxel with one field, 0 to 1; voxels below "
              f"{result.provenance['least_reliability']:g} do not count.", maps.reliability, result.mask,
              window=(0.0, 1.0), unit="coherence"),
        panel("Local field", "After background field removal.", maps.local_field, maps.mask,
              window=(-local, local), **field),
        panel("Residual of the forward model", "Local field minus the field that χ makes, same window.",
              maps.residual, maps.mask, window=(-local, local), **field),
    ]  # fmt: skip


def _numbers(result: Result) -> dict[str, str]:
    maps = result.maps
    inside = maps.chi[maps.mask]
    low, high = np.percentile(inside, [1, 99])
    volume = float(np.prod(result.provenance["voxel_size_mm"])) / 1000
    residual = result.provenance["residual_percent_of_local_field"]
    return {
        "valid volume": f"{maps.mask.sum() * volume:.1f} of {result.mask.sum() * volume:.1f} cm³ of mask",
        "χ, standard deviation": f"{inside.std():.4f} ppm",
        "χ, 1st and 99th percentile": f"{low:.3f} and {high:.3f} ppm",
        "forward-model residual": f"{residual:.1f} % of the local field (medians)",
    }
