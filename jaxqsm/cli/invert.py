"""jaxqsm invert: susceptibility from a local or total field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp

from jaxqsm.cli import console
from jaxqsm.cli.choices import default_of, method_of
from jaxqsm.cli.options import Several, StageOptions, settings_of
from jaxqsm.cli.volumes import (
    acquisition_of,
    at_scale,
    box_of,
    centred,
    check_output,
    chosen_method,
    found_by,
    geometry_of,
    images_of,
    load_field,
    mask_for,
    out_of_box,
    refuse_if_nothing_is_left,
    taken,
    write_volumes,
)
from jaxqsm.io import InputError
from jaxqsm.operators import MaskedVolume
from jaxqsm.pipeline import cut, standard_deviation_of


def invert(
    field: Path,
    /,
    *,
    mask: Path,
    out: Path,
    out_mask: Path | None = None,
    out_std: Path | None = None,
    method: Annotated[str, method_of("inversion", "single_step")] = default_of("inversion"),
    uncertainty: Annotated[str, method_of("uncertainty", says="What --out-std is by")] = default_of(
        "uncertainty"
    ),
    magnitude: Path | None = None,
    weights: Path | None = None,
    echo_times: Annotated[tuple[float, ...], Several] = (),
    field_strength: float | None = None,
    csf_mask: Path | None = None,
    options: StageOptions = StageOptions(),
) -> None:
    """Invert a local field in ppm, or a total field in a single step, to susceptibility in ppm.

    Parameters
    ----------
    field
        3-D NIfTI file, ppm: the local field, or the total field for a single-step method.
    mask
        Where the field is valid.
    out
        χ to write; its mean in the mask is zero, or that in --csf-mask.
    out_mask
        Also write the mask where χ is valid, for single-step methods.
    out_std
        Also write the standard deviation of χ in ppm, for inversions of a local field.
    magnitude
        Image: its edges are those of χ for methods that use edges, and it weighs the data where --weights are
        not given.
    weights
        Confidence in the field of each voxel, any unit, for methods that take it.
    echo_times
        Seconds, for methods whose data term is that of the phase. Default: EchoTime of the JSON sidecar;
        without, the data term is that of the field.
    field_strength
        Tesla, with --echo-times. Default: MagneticFieldStrength of the JSON sidecar.
    csf_mask
        Cerebrospinal fluid, which medi takes as zero (MEDI+0).
    """
    chosen = chosen_method(["inversion", "single_step"], method)
    of_chi = chosen_method("uncertainty", uncertainty, option="--uncertainty")
    given = settings_of(chosen, options.settings)
    check_output(out, options.overwrite)
    check_output(out_mask, options.overwrite, option="--out-mask")
    check_output(out_std, options.overwrite, option="--out-std")
    if out_std is not None and chosen.stage == "single_step":
        raise InputError(f"--out-std: {method} takes a total field; use jaxqsm run --uncertainty")
    image, inside = load_field(field, mask, replace_nonfinite=options.replace_nonfinite)
    true_geometry = geometry_of(image, options.b0_dir)
    keywords, geometry, scale = at_scale(chosen, given, inside, true_geometry)
    box = box_of(inside)
    images = images_of(image, magnitude, weights, box)
    keywords |= taken(chosen, images)
    if chosen.takes("acquisition"):
        keywords["acquisition"] = acquisition_of(image, echo_times, field_strength)
    if csf_mask is not None:
        if not chosen.takes("csf_mask"):
            raise InputError(f"--csf-mask: {method} does not use it; medi does")
        keywords |= {"csf_mask": jnp.asarray(cut(mask_for(image, csf_mask), box))}
    known = centred(image.data, inside) if chosen.stage == "single_step" else image.data
    values, within = (jnp.asarray(cut(v, box)) for v in (known, inside))
    if chosen.searches(keywords):
        with console.stage("weight, by cross-validation"):
            keywords = chosen.settled(values, within, geometry, keywords)
        console.note(f"weight {chosen.option('weight').times(float(keywords['weight']), scale):.3g}")
    try:
        found = found_by(chosen, values, within, geometry, **keywords)
    except ValueError as error:  # such as a file of weights that is none
        raise InputError(f"--method {method}: {error}") from error
    chi, valid = MaskedVolume.of(found, within)
    refuse_if_nothing_is_left(valid, mask, inside, true_geometry, chosen, given, scale)
    outputs: dict[Path | None, Any] = {out: chi, out_mask: valid}
    if out_std is not None:
        with console.stage(f"uncertainty ({uncertainty})") as done:
            outputs[out_std] = done(
                standard_deviation_of(
                    of_chi,
                    chi,
                    values,
                    within,
                    geometry,
                    chosen,
                    keywords,
                    magnitude=images["magnitude"],
                    weights=images["weights"],
                    options={},
                )
            )
    write_volumes(out_of_box(outputs, box, inside.shape), image.grid)
