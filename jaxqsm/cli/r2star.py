"""jaxqsm r2star: decay of the magnitude."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import jax.numpy as jnp
import numpy as np

from jaxqsm.cli import console
from jaxqsm.cli.choices import default_of, method_of
from jaxqsm.cli.options import Several
from jaxqsm.cli.volumes import check_output, chosen_method, mask_for, write_volumes
from jaxqsm.geometry import Acquisition
from jaxqsm.io import InputError, finite_within, load_magnitude


def r2star(
    magnitude: Annotated[tuple[Path, ...], Several],
    /,
    *,
    out: Path,
    mask: Path | None = None,
    echo_times: Annotated[tuple[float, ...], Several] = (),
    method: Annotated[str, method_of("relaxometry", says="Method (arlo needs even spacing)")] = default_of(
        "relaxometry"
    ),
    t2star: Path | None = None,
    replace_nonfinite: bool = False,
    overwrite: bool = False,
) -> None:
    """Fit R2* in 1/s to the magnitude of several echoes.

    Parameters
    ----------
    magnitude
        One 4-D NIfTI file, or one 3-D file an echo.
    out
        R2* to write, 1/s.
    mask
        Where to fit. Default: everywhere.
    echo_times
        Seconds, one an echo. Default: EchoTime of the JSON sidecars.
    t2star
        Also write T2* = 1 / R2*, seconds.
    replace_nonfinite
        Accept NaN and infinite voxels within a given mask, as 0. Outside they never matter.
    overwrite
        Replace the files.
    """
    chosen = chosen_method("relaxometry", method)
    check_output(out, overwrite)
    check_output(t2star, overwrite, option="--t2star")
    image, times = load_magnitude(magnitude, echo_times=echo_times or None)
    broken = np.isnan(image.data).any(axis=-1)
    within = mask_for(image, mask)
    image = finite_within(image, within, replace=replace_nonfinite or mask is None)
    if broken.any():
        console.note(f"{int(broken.sum())} voxels are NaN or infinite; R2* is 0 there")
    inside = jnp.asarray(within & ~broken)
    acquisition = Acquisition(times, 1.0)  # decay does not ask for the field strength
    try:
        with console.stage(method) as done:
            rate = done(chosen.function(jnp.asarray(image.data), inside, acquisition))
    except ValueError as error:
        raise InputError(f"{magnitude[0]}: {error}") from error
    outputs = {out: rate}
    if t2star is not None:
        outputs[t2star] = jnp.where(rate > 0, 1 / jnp.where(rate > 0, rate, 1), 0)
    write_volumes(outputs, image.grid)
