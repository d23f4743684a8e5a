"""jaxqsm roi: a map in numbers, region by region."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TextIO

import numpy as np

from jaxqsm.cli.volumes import mask_for
from jaxqsm.io import (
    InputError,
    finite_within,
    label_names,
    load,
    refuse_existing,
    require_same_grid,
    staging,
)
from jaxqsm.metrics import RegionStatistics, region_statistics


def roi(
    chi: Path,
    /,
    *,
    labels: Path,
    mask: Path | None = None,
    names: Path | None = None,
    reference: int | None = None,
    out: Path | None = None,
    replace_nonfinite: bool = False,
    overwrite: bool = False,
) -> None:
    """Summarise a map in every region: mean, standard deviation, median and voxels, as CSV.

    Parameters
    ----------
    chi
        Map, e.g. χ in ppm.
    labels
        Segmentation with whole numbers on the same grid; 0 is no region.
    mask
        Where the map is valid. Default: everywhere.
    names
        BIDS table of label names (columns index and name). Default: the .tsv beside the labels, if there.
    reference
        Label whose mean is subtracted first, e.g. that of cerebrospinal fluid.
    out
        CSV file to write. Default: to standard output.
    replace_nonfinite
        Accept NaN and infinite voxels of the map within the regions, and leave them out.
    overwrite
        Replace the file.
    """
    if out is not None:
        refuse_existing([out], overwrite=overwrite)
    image, regions = load(chi, keep_nonfinite=True), load(labels, replace_nonfinite=True)
    require_same_grid(image, regions)
    rounded = np.rint(regions.data).astype(int)
    if not np.array_equal(rounded, regions.data):
        raise InputError(f"{labels}: not whole numbers; a label image is needed")
    within = mask_for(image, mask)
    finite = np.isfinite(image.data)
    image = finite_within(image, within & (rounded != 0), replace=replace_nonfinite)
    found = region_statistics(image.data, rounded, within & finite)
    if not found:
        raise InputError(f"{labels}: no label other than 0 within the mask")
    shift = 0.0
    if reference is not None:
        if reference not in found:
            raise InputError(f"--reference {reference}: no voxel of it in {labels} within the mask")
        shift = found[reference].mean
    known = label_names(labels, names)
    if out is None:
        _table(sys.stdout, found, known, shift)
        return
    with staging(out.parent) as partial, (partial / out.name).open("w", newline="", encoding="utf-8") as file:
        _table(file, found, known, shift)


def _table(file: TextIO, found: dict[int, RegionStatistics], names: dict[int, str], shift: float) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["label", "name", "mean", "sd", "median", "n"])
    for label, values in found.items():
        numbers = [f"{v:.6g}" for v in (values.mean - shift, values.sd, values.median - shift)]
        writer.writerow([label, names.get(label, ""), *numbers, values.n])
