"""jaxqsm run: one scan."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from jaxqsm.cli import console
from jaxqsm.cli.options import MethodOptions, ReadingOptions, Several
from jaxqsm.io import ScanData, load_scan, refuse_existing, save, save_json, staging
from jaxqsm.pipeline import Config, Result, reconstruct_scan
from jaxqsm.report import write_report


def run(
    *,
    phase: Annotated[tuple[Path, ...], Several],
    out: Path,
    magnitude: Annotated[tuple[Path, ...], Several] = (),
    mask: Path | None = None,
    echo_times: Annotated[tuple[float, ...], Several] = (),
    field_strength: float | None = None,
    methods: MethodOptions = MethodOptions(),
    reading: ReadingOptions = ReadingOptions(),
    overwrite: bool = False,
) -> None:
    """One scan to a susceptibility map in ppm, with fields, mask, provenance and an HTML report.

    Parameters
    ----------
    phase
        One 4-D NIfTI file, or one 3-D file an echo. The scale is recognised.
    out
        Folder for chimap, localfield, totalfield, mask (.nii.gz), provenance.json, report.html; and
        chimap_std with --uncertainty.
    magnitude
        Likewise; needed unless a mask is given.
    mask
        Where to reconstruct. Default: made from the magnitude.
    echo_times
        Seconds, one an echo. Default: EchoTime of the JSON sidecars.
    field_strength
        Tesla. Default: MagneticFieldStrength of a JSON sidecar.
    overwrite
        Replace results that are in the folder.
    """
    config = methods.config()
    refuse_existing([out], overwrite=overwrite)
    with staging(out) as partial:
        scan = console.stage(
            "reading",
            lambda: load_scan(
                phase,
                magnitude,
                mask=mask,
                echo_times=echo_times or None,
                field_strength=field_strength,
                **dataclasses.asdict(reading),
            ),
        )
        result = reconstruct_and_tell(scan, config)
        write_maps(partial, scan, result)
        console.stage(
            "report",
            lambda: write_report(partial / "report.html", scan, result, title=phase[0].name),
        )
    console.note(f"wrote {out}: open {out / 'report.html'}")


def reconstruct_and_tell(scan: ScanData, config: Config) -> Result:
    """Reconstruct with progress; say what was recognised and what to look at."""
    for text in scan.notes:
        console.note(text)
    result = reconstruct_scan(scan, config, announce=console.stage)
    for text in result.notes[len(scan.notes) :]:
        console.note(text)
    for text in result.warnings:
        console.warn(text)
    return result


def write_maps(folder: Path, scan: ScanData, result: Result) -> None:
    """Write the maps under their QSM-CI names, and the provenance."""
    maps = result.maps
    named = {
        "chimap": maps.chi,
        "localfield": maps.local_field,
        "totalfield": maps.total_field,
        "mask": maps.mask,
    }
    if maps.deviation is not None:
        named["chimap_std"] = maps.deviation
    for name, volume in named.items():
        save(folder / f"{name}.nii.gz", volume, scan.affine)
    history = {"notes": result.notes, "warnings": result.warnings}
    save_json(folder / "provenance.json", result.provenance | history)
