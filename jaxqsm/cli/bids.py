"""jaxqsm bids: all scans of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import jaxqsm
from jaxqsm.cli import console
from jaxqsm.cli.memory import forget_compiled_code
from jaxqsm.cli.options import MaskOptions, MethodOptions, ReadingOptions, Several
from jaxqsm.cli.run import load_files, told
from jaxqsm.io import (
    BidsScan,
    InputError,
    ScanData,
    find_scans,
    save,
    save_json,
    staging,
    write_dataset_description,
)
from jaxqsm.pipeline import Config, MaskConfig, Result, reconstruct_scan
from jaxqsm.report import write_report


def bids(
    bids_dir: Path,
    out_dir: Path,
    level: Literal["participant"] = "participant",
    /,
    *,
    participant_label: Annotated[tuple[str, ...], Several] = (),
    masks: Path | None = None,
    masking: MaskOptions = MaskOptions(),
    methods: MethodOptions = MethodOptions(),
    reading: ReadingOptions = ReadingOptions(),
    overwrite: bool = False,
) -> int:
    """Reconstruct every gradient-echo scan with phase of a BIDS dataset into a derivative dataset.

    A scan whose map exists is skipped, so an interrupted run continues where it stopped. A scan
    that fails is named and the others go on; the exit code is then 1.

    Parameters
    ----------
    bids_dir
        Root of the dataset.
    out_dir
        Root of the derivative dataset to write or extend.
    level
        Level of analysis; only participant.
    participant_label
        Participants, with or without "sub-". Default: all.
    masks
        Derivative dataset with *_mask.nii[.gz] files. Default: masks are made from the magnitude.
    overwrite
        Reconstruct and replace maps that exist.
    """
    del level
    config, mask_config = methods.config(), masking.config()
    scans = find_scans(bids_dir, participant_label)
    if not (out_dir / "dataset_description.json").exists():
        with staging(out_dir) as partial:
            write_dataset_description(partial, name="jaxqsm", version=jaxqsm.__version__, derivative=True)
    failed = []
    for number, found in enumerate(scans, start=1):
        console.note(f"[{number}/{len(scans)}] {found.name}")
        if (out_dir / found.folder / f"{found.name}_Chimap.nii.gz").exists() and not overwrite:
            console.note("  exists already, passed over (--overwrite reconstructs it)")
            continue
        try:
            _reconstruct(found, bids_dir, out_dir, masks, config, mask_config, reading)
        except InputError as error:
            console.fail(f"{found.name}: {error}")
            failed.append(found.name)
        except Exception as error:  # one bad scan must not stop a night's work
            console.fail(f"{found.name}: {type(error).__name__}: {error}")
            failed.append(found.name)
        forget_compiled_code()
    done = len(scans) - len(failed)
    console.note(f"{done} of {len(scans)} scans are in {out_dir}")
    if failed:
        console.fail(f"{len(failed)} failed: {', '.join(failed)}")
    return 1 if failed else 0


def _reconstruct(
    found: BidsScan,
    bids_dir: Path,
    out_dir: Path,
    masks: Path | None,
    config: Config,
    masking: MaskConfig,
    reading: ReadingOptions,
) -> None:
    mask = None
    if masks is not None:
        mask = found.mask_in(masks)
        if mask is None:
            raise InputError(f"{masks / found.folder}: has no *_mask.nii[.gz] for {found.name}")
    with staging(out_dir / found.folder) as partial:
        scan = load_files(found, mask, reading, dataset=bids_dir)
        result = told(reconstruct_scan, scan, config, masking)
        _write(partial, found.name, scan, result)
        write_report(partial / f"{found.name}_report.html", scan, result, title=found.name)


def _write(folder: Path, name: str, scan: ScanData, result: Result) -> None:
    history: dict[str, Any] = {"notes": result.notes, "warnings": result.warnings}
    sidecar = result.provenance | history | {"Units": "ppm"}
    maps = {
        "Chimap": result.maps.chi,
        "desc-local_fieldmap": result.maps.local_field,
        "desc-total_fieldmap": result.maps.total_field,
        "desc-valid_mask": result.maps.mask,
    }
    if result.maps.standard_deviation is not None:
        maps["desc-std_Chimap"] = result.maps.standard_deviation
        save_json(folder / f"{name}_desc-std_Chimap.json", {"Units": "ppm", "Sources": sidecar["sources"]})
    for suffix, volume in maps.items():
        save(folder / f"{name}_{suffix}.nii.gz", volume, scan.grid)
    save_json(folder / f"{name}_Chimap.json", sidecar)
    for suffix in ("desc-local_fieldmap", "desc-total_fieldmap"):
        save_json(folder / f"{name}_{suffix}.json", {"Units": "ppm", "Sources": sidecar["sources"]})
