"""jaxqsm separate: paramagnetic and diamagnetic susceptibility."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp

from jaxqsm.cli import console
from jaxqsm.cli.options import StageOptions, settings_of
from jaxqsm.cli.volumes import (
    at_scale,
    check_output,
    chosen_method,
    geometry_of,
    load_field,
    magnitude_for,
    write_volumes,
)
from jaxqsm.io import InputError, finite_within, load, require_same_grid

UNIFORM_R2 = 11.0
"""1/s, of brain at 3 T: the mean of grey and white matter of Wansapura et al. 1999, JMRI 9:531,
doi:10.1002/(SICI)1522-2586(199904)9:4<531::AID-JMRI4>3.0.CO;2-L."""

RELAXIVITY = 137.0 / 3.0
"""1/s per ppm and tesla: 137 at 3 T (Shin et al. 2021, doi:10.1016/j.neuroimage.2021.118371)."""


def separate(
    local_field: Path,
    /,
    *,
    mask: Path,
    out_positive: Path,
    out_negative: Path,
    field_strength: float,
    r2prime: Path | None = None,
    r2star: Path | None = None,
    r2: Path | None = None,
    uniform_r2: float = UNIFORM_R2,
    magnitude: Path | None = None,
    method: str = "chi_separation",
    options: StageOptions = StageOptions(),
) -> None:
    """Separate χ⁺ (iron) and χ⁻ (myelin, calcium) in ppm, from a local field and R2′.

    Parameters
    ----------
    local_field
        3-D NIfTI file, ppm.
    mask
        Where it is valid.
    out_positive
        χ⁺ to write.
    out_negative
        χ⁻ to write, negative.
    field_strength
        Tesla; R2′ of a source is proportional to it.
    r2prime
        R2′ in 1/s, or
    r2star
        R2* in 1/s: R2′ is what it has more than
    r2
        R2 in 1/s, or, where there is no map of it,
    uniform_r2
        R2 in 1/s of all tissue. The map then takes differences of R2 for iron or myelin.
    magnitude
        Weights of the field.
    method
        chi_separation.
    """
    chosen = chosen_method("separation", method)
    given = settings_of(chosen, options.settings)
    check_output(out_positive, options.overwrite, option="--out-positive")
    check_output(out_negative, options.overwrite, option="--out-negative")
    if (r2prime is None) == (r2star is None):
        raise InputError("give one of --r2prime and --r2star")
    if r2 is not None and r2star is None:
        raise InputError("--r2: serves with --r2star alone")
    if not field_strength > 0:
        raise InputError(f"--field-strength {field_strength}: tesla above 0 are needed")
    image, inside = load_field(local_field, mask, replace_nonfinite=options.replace_nonfinite)
    rates = {path: load(path, keep_nonfinite=True) for path in (r2prime, r2star, r2) if path is not None}
    for path, rate in rates.items():
        require_same_grid(image, rate)
        rates[path] = finite_within(rate, inside, replace=options.replace_nonfinite)
    if r2prime is not None:
        difference = rates[r2prime].data
    else:
        assert r2star is not None
        difference = rates[r2star].data - (uniform_r2 if r2 is None else rates[r2].data)
        if r2 is None:
            console.note(f"no map of R2: {uniform_r2:g} /s is taken everywhere")
    keywords, geometry, _ = at_scale(chosen, given, inside, geometry_of(image, options.b0_dir))
    with console.stage(method) as done:
        positive, negative = done(
            chosen.function(
                jnp.asarray(image.data),
                jnp.asarray(difference),
                jnp.asarray(inside),
                geometry,
                magnitude=magnitude_for(image, magnitude, same_echoes=False),
                relaxivity=RELAXIVITY * field_strength,
                **keywords,
            )
        )
    write_volumes({out_positive: positive, out_negative: negative}, image.grid)
