"""jaxqsm background: local field from a total field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import jax.numpy as jnp

from jaxqsm.cli.choices import default_of, method_of
from jaxqsm.cli.options import StageOptions, settings_of
from jaxqsm.cli.volumes import (
    at_scale,
    box_of,
    centred,
    check_output,
    chosen_method,
    found_by,
    geometry_of,
    images_of,
    load_field,
    out_of_box,
    refuse_if_nothing_is_left,
    taken,
    write_volumes,
)
from jaxqsm.pipeline import cut


def background(
    total_field: Path,
    /,
    *,
    mask: Path,
    out: Path,
    out_mask: Path | None = None,
    method: Annotated[str, method_of("background")] = default_of("background"),
    magnitude: Path | None = None,
    weights: Path | None = None,
    options: StageOptions = StageOptions(),
) -> None:
    """Remove the background from a total field in ppm.

    Parameters
    ----------
    total_field
        3-D NIfTI file, ppm.
    mask
        Where the total field is valid.
    out
        Local field to write.
    out_mask
        Also write the mask where the local field is valid.
    magnitude
        Image; it weighs the data where --weights are not given.
    weights
        Confidence in the field of each voxel, any unit, for methods that take it.
    """
    chosen = chosen_method("background", method)
    given = settings_of(chosen, options.settings)
    check_output(out, options.overwrite)
    check_output(out_mask, options.overwrite, option="--out-mask")
    image, inside = load_field(total_field, mask, replace_nonfinite=options.replace_nonfinite)
    true_geometry = geometry_of(image, options.b0_dir)
    keywords, geometry, scale = at_scale(chosen, given, inside, true_geometry)
    box = box_of(inside)
    keywords |= taken(chosen, images_of(image, magnitude, weights, box))
    values, within = (jnp.asarray(cut(v, box)) for v in (centred(image.data, inside), inside))
    local, valid = found_by(chosen, values, within, geometry, **keywords)
    refuse_if_nothing_is_left(valid, mask, inside, true_geometry, chosen, given, scale)
    write_volumes(out_of_box({out: local, out_mask: valid}, box, inside.shape), image.grid)
