"""jaxqsm run: one scan."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jaxqsm.cli import console
from jaxqsm.cli.options import MaskOptions, MethodOptions, ReadingOptions, SignalOptions
from jaxqsm.io import (
    BidsScan,
    InputError,
    ScanData,
    SignalFiles,
    converted,
    load_scan,
    refuse_existing,
    save,
    save_json,
    staging,
)
from jaxqsm.pipeline import Config, FieldResult, MaskConfig, Result, reconstruct_scan
from jaxqsm.report import write_report

Outcome = TypeVar("Outcome", Result, FieldResult)


def run(
    *,
    out: Path,
    signal: SignalOptions = SignalOptions(),
    mask: Path | None = None,
    masking: MaskOptions = MaskOptions(),
    methods: MethodOptions = MethodOptions(),
    reading: ReadingOptions = ReadingOptions(),
    overwrite: bool = False,
) -> None:
    """Reconstruct one scan: χ in ppm, fields, mask, provenance and an HTML report.

    Parameters
    ----------
    out
        Folder for chimap, localfield, totalfield, mask (.nii.gz), provenance.json, report.html; and
        chimap_std with --uncertainty.
    mask
        Where to reconstruct: 0 and 1, or probabilities. Default: made from the magnitude.
    overwrite
        Replace results that are in the folder.
    """
    config, mask_config = methods.config(), masking.config()
    refuse_existing([out], overwrite=overwrite)
    with staging(out) as partial:
        scan = read_scan(signal, mask, reading)
        result = told(reconstruct_scan, scan, config, mask_config)
        write_maps(partial, scan, result)
        with console.stage("report"):
            write_report(partial / "report.html", scan, result, title=scan.files[0].name)
    console.note(f"wrote {out}: open {out / 'report.html'}")


def read_scan(signal: SignalOptions, mask: Path | None, reading: ReadingOptions) -> ScanData:
    """Read the files of a scan under a spinner; DICOM is converted first."""
    if signal.dicom is None:
        with console.stage("reading"):
            return load_files(signal, mask, reading, signal.complex_images)
    if any((signal.phase, signal.magnitude, signal.complex_images, signal.real, signal.imaginary)):
        raise InputError("--dicom: give either this or image files, not both")
    with converted(signal.dicom) as found, console.stage("reading"):
        return load_files(found, mask, reading)


def load_files(
    files: SignalOptions | SignalFiles | BidsScan,
    mask: Path | None,
    reading: ReadingOptions,
    complex_images: tuple[Path, ...] = (),
    dataset: Path | None = None,
) -> ScanData:
    """Read the files of a scan as the options say."""
    options = dataclasses.asdict(reading) | {"echo_times": reading.echo_times or None}
    return load_scan(
        files.phase,
        files.magnitude,
        complex_images=complex_images,
        real=files.real,
        imaginary=files.imaginary,
        mask=mask,
        dataset=dataset,
        **options,
    )


def told(work: Callable[..., Outcome], scan: ScanData, config: Config, masking: MaskConfig) -> Outcome:
    """Carry out work on a scan with progress; say what was recognised and what to look at.

    Args:
        work: :func:`jaxqsm.pipeline.reconstruct_scan` or :func:`jaxqsm.pipeline.map_field`.
        scan: the scan.
        config: methods and options.
        masking: how the mask is made where none is given.
    """
    for text in scan.notes:
        console.note(text)
    result = work(scan, config, masking, announce=console.stage)
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
    if maps.standard_deviation is not None:
        named["chimap_std"] = maps.standard_deviation
    for name, volume in named.items():
        save(folder / f"{name}.nii.gz", volume, scan.grid)
    history = {"notes": result.notes, "warnings": result.warnings}
    save_json(folder / "provenance.json", result.provenance | history)
