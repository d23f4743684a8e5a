"""jaxqsm swi: susceptibility-weighted images."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp

from jaxqsm import weighting
from jaxqsm.cli import console
from jaxqsm.cli.options import Overwrite, Range
from jaxqsm.cli.volumes import check_output, write_volumes
from jaxqsm.io import InputError, geometry_from, load, require_same_grid, to_radians


def swi(
    *,
    magnitude: Path,
    out: Path,
    phase: Path | None = None,
    chi: Path | None = None,
    projection: Path | None = None,
    thickness: float = 8.0,
    smoothing: float = 3.0,
    phase_range: Range = None,
    overwrite: Overwrite = False,
) -> None:
    """Susceptibility-weighted image from phase (SWI), or from a map of susceptibility (true SWI).

    Parameters
    ----------
    magnitude
        3-D NIfTI file of one echo, best a late one.
    out
        Image to write.
    phase
        Of the same echo; the scale is recognised.
    chi
        Susceptibility in ppm, instead of the phase.
    projection
        Also write the minimum-intensity projection over slabs.
    thickness
        Of the slabs, mm.
    smoothing
        Standard deviation of the Gaussian that takes slow phase out, mm.
    phase_range
        Stored values that stand for −π and π. Default: recognised.
    overwrite
        Replace the files.
    """
    if (phase is None) == (chi is None):
        raise InputError("give one of --phase and --chi")
    check_output(out, overwrite)
    if projection is not None:
        check_output(projection, overwrite, option="--projection")
    source = phase or chi
    assert source is not None
    images = load(magnitude), load(source)
    require_same_grid(*images)
    for image in images:
        if image.data.ndim != 3:
            raise InputError(f"{image.path}: needs 3 dimensions (one echo), this has {image.data.ndim}")
    bright, other = (jnp.asarray(image.data) for image in images)
    geometry = geometry_from(images[0].affine, path=magnitude)
    if phase is not None:
        radians, recognised = to_radians(images[1].data, phase_range=phase_range, name=str(phase))
        console.note(recognised)
        found = console.stage(
            "swi", lambda: weighting.swi(jnp.asarray(radians), bright, geometry, smoothing=smoothing)
        )
    else:
        found = console.stage("true swi", lambda: weighting.true_swi(other, bright))
    outputs = {out: found}
    if projection is not None:
        outputs[projection] = weighting.minimum_intensity(found, geometry, thickness=thickness)
    write_volumes(outputs, images[0].affine)
