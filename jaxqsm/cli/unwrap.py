"""jaxqsm unwrap: unwrapped phase of one echo or several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import jax.numpy as jnp

from jaxqsm.cli import console
from jaxqsm.cli.choices import default_of, method_of
from jaxqsm.cli.options import Range, Settings, Several, settings_of
from jaxqsm.cli.volumes import (
    check_output,
    chosen_method,
    magnitude_for,
    mask_for,
    radians_of_image,
    write_volumes,
)
from jaxqsm.io import InputError, finite_within, load


def unwrap(
    phase: Path,
    /,
    *,
    out: Path,
    mask: Path | None = None,
    magnitude: Path | None = None,
    echo_times: Annotated[tuple[float, ...], Several] = (),
    method: Annotated[str, method_of("unwrapping")] = default_of("unwrapping"),
    settings: Settings = (),
    phase_range: Range = None,
    replace_nonfinite: bool = False,
    overwrite: bool = False,
) -> None:
    """Unwrap the phase of one echo or several, in rad.

    Parameters
    ----------
    phase
        3-D or 4-D (echoes) NIfTI file; the scale is recognised.
    out
        Unwrapped phase to write.
    mask
        Where phase is meaningful. Default: everywhere.
    magnitude
        Of the same shape; makes bright neighbours preferred (romeo, learned_unwrapping).
    echo_times
        Seconds, one an echo; needed for a 4-D file (romeo).
    settings
        Options of the method: OPTION=VALUE.
    phase_range
        Stored values that stand for −π and π. Default: recognised.
    replace_nonfinite
        Accept NaN and infinite voxels within the mask, as 0. Outside they never matter.
    overwrite
        Replace the file.
    """
    chosen = chosen_method("unwrapping", method)
    keywords = settings_of(chosen, settings)
    check_output(out, overwrite)
    image = load(phase, keep_nonfinite=True)
    inside = mask_for(image, mask)
    image = finite_within(image, inside, replace=replace_nonfinite)
    radians = radians_of_image(image, phase_range)
    if chosen.takes("magnitude"):
        keywords |= {"magnitude": magnitude_for(image, magnitude, same_echoes=True)}
        if image.data.ndim == 4 and chosen.takes("echo_times"):
            if len(echo_times) != image.data.shape[-1]:
                raise InputError(
                    f"{phase}: has {image.data.shape[-1]} echoes; pass as many --echo-times in seconds"
                )
            keywords["echo_times"] = jnp.asarray(echo_times)
    geometry = image.grid.geometry(path=phase)
    with console.stage(method) as done:
        unwrapped = done(chosen.function(jnp.asarray(radians), inside, geometry, **keywords))
    write_volumes({out: unwrapped}, image.grid)
