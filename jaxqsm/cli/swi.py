"""jaxqsm swi: susceptibility-weighted images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm import unwrapping, weighting
from jaxqsm.cli import console
from jaxqsm.cli.options import Range, Several
from jaxqsm.cli.volumes import check_output, mask_for, radians_of_image, write_volumes
from jaxqsm.io import Image, InputError, load, load_scan, require_same_grid


def swi(
    *,
    magnitude: Annotated[tuple[Path, ...], Several],
    out: Path,
    phase: Annotated[tuple[Path, ...], Several] = (),
    chi: Path | None = None,
    mask: Path | None = None,
    echo_times: Annotated[tuple[float, ...], Several] = (),
    projection: Path | None = None,
    thickness: float = 8.0,
    smoothing: float | None = None,
    phase_range: Range = None,
    replace_nonfinite: bool = False,
    overwrite: bool = False,
) -> None:
    """Make a susceptibility-weighted image from phase (SWI, CLEAR-SWI) or from χ (true SWI).

    Parameters
    ----------
    magnitude
        One 3-D NIfTI file, best of a late echo; of several echoes one 4-D file, or one 3-D file an echo.
    out
        Image to write.
    phase
        Of the same echoes; the scale is recognised.
    chi
        Susceptibility in ppm, instead of the phase.
    mask
        Where there is signal (CLEAR-SWI). Default: everywhere.
    echo_times
        Seconds, one an echo (CLEAR-SWI). Default: EchoTime of the JSON sidecars.
    projection
        Also write the minimum-intensity projection over slabs.
    thickness
        Of the slabs, mm.
    smoothing
        Standard deviation of the Gaussian that takes slow phase out, mm. Default: 3, CLEAR-SWI 4.
    phase_range
        Stored values that stand for −π and π. Default: recognised.
    replace_nonfinite
        Accept NaN and infinite voxels, as 0.
    overwrite
        Replace the files.
    """
    if bool(phase) == (chi is not None):
        raise InputError("give one of --phase and --chi")
    check_output(out, overwrite)
    check_output(projection, overwrite, option="--projection")
    first = load(magnitude[0], replace_nonfinite=replace_nonfinite)
    geometry = first.grid.geometry(path=magnitude[0])
    keywords = {} if smoothing is None else {"smoothing": smoothing}
    if chi is not None:
        source, bright = _one_echo(chi, magnitude, first, "--chi", replace_nonfinite)
        with console.stage("true swi") as done:
            found = done(weighting.true_swi(jnp.asarray(source.data), bright))
    elif len(phase) == 1 and first.data.ndim == 3:
        source, bright = _one_echo(phase[0], magnitude, first, "--phase", replace_nonfinite)
        radians = radians_of_image(source, phase_range)
        with console.stage("swi") as done:
            found = done(weighting.swi(jnp.asarray(radians), bright, geometry, **keywords))
    else:
        scan = load_scan(
            phase,
            magnitude,
            echo_times=echo_times or None,
            field_strength=1.0,  # images are weighted by phase, not by field
            phase_range=phase_range,
            replace_nonfinite=replace_nonfinite,
        )
        for text in (scan.notes[0], *scan.warnings):
            console.note(text)
        inside = jnp.asarray(mask_for(first, mask))
        measured = jnp.asarray(scan.phase)
        with console.stage("laplacian") as done:
            unwrapped = done(unwrapping.laplacian(measured, inside, geometry))
        bright = jnp.asarray(scan.magnitude)
        with console.stage("clear swi") as done:
            found = done(
                weighting.clear_swi(unwrapped, bright, inside, geometry, scan.acquisition, **keywords)
            )
    outputs = {out: found}
    if projection is not None:
        outputs[projection] = weighting.minimum_intensity(found, geometry, thickness=thickness)
    write_volumes(outputs, first.grid)


def _one_echo(
    source: Path, magnitude: tuple[Path, ...], first: Image, option: str, replace_nonfinite: bool
) -> tuple[Image, Float[Array, "x y z"]]:
    """An image and the one magnitude, of which ``first`` is what was read, on its grid."""
    if len(magnitude) > 1:
        raise InputError(f"{option}: one echo of --magnitude is needed with it, {len(magnitude)} were given")
    images = first, load(source, replace_nonfinite=replace_nonfinite)
    for image in images:
        if image.data.ndim != 3:
            raise InputError(f"{image.path}: needs 3 dimensions (one echo), this has {image.data.ndim}")
    require_same_grid(*images)
    return images[1], jnp.asarray(images[0].data)
