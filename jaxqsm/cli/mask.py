"""jaxqsm mask: a mask from a magnitude or phase image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from jaxqsm.cli import console
from jaxqsm.cli.choices import default_of, method_of
from jaxqsm.cli.options import Range
from jaxqsm.cli.volumes import check_output, chosen_method, radians_of_image, write_volumes
from jaxqsm.io import InputError, load


def mask(
    image: Path,
    /,
    *,
    out: Path,
    method: Annotated[str, method_of("mask")] = default_of("mask"),
    erosion: float | None = None,
    neck: float | None = None,
    phase_range: Range = None,
    overwrite: bool = False,
) -> None:
    """Segment the brain, or all signal of phantoms and crops, from a magnitude or phase image.

    Parameters
    ----------
    image
        3-D or 4-D (echoes) NIfTI file: magnitude, or phase for phase_quality.
    out
        Mask to write, .nii or .nii.gz.
    erosion
        Taken off the border, which holds part bone or air, mm; 0: none. Default: one layer of voxels, of
        deepbet's masks 0.
    neck
        Half width in mm of the bridges to skull and neck that are cut (magnitude). Default: two fifths of the
        brain's own half width.
    phase_range
        Stored values that stand for −π and π (phase_quality). Default: recognised.
    overwrite
        Replace the file.
    """
    check_output(out, overwrite)
    chosen = chosen_method("mask", method)
    stored = load(image, replace_nonfinite=True)
    geometry = stored.grid.geometry(path=image)
    values = stored.data
    keywords: dict[str, Any] = {} if erosion is None else {"erosion": erosion}
    if chosen.name == "phase_quality":
        values = radians_of_image(stored, phase_range)
    elif chosen.takes("affine"):
        keywords["affine"] = stored.affine
    elif neck is not None:
        keywords["neck"] = neck

    with console.stage("mask"):
        try:
            found = chosen.function(values, geometry, **keywords)
        except ValueError as error:
            raise InputError(f"{image}: {error}") from error
    write_volumes({out: found}, stored.grid)
