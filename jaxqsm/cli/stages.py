"""Single stages, exchanging files in rad and ppm as the QSM-CI contract names them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np

from jaxqsm.cli import console
from jaxqsm.cli.options import (
    Direction,
    FieldOptions,
    MaskOptions,
    Range,
    ReadingOptions,
    Settings,
    Several,
    SignalOptions,
    settings_of,
)
from jaxqsm.cli.run import read_scan
from jaxqsm.cli.volumes import (
    at_scale,
    check_output,
    chosen_method,
    geometry_of,
    load_field,
    magnitude_for,
    mask_for,
    radians_of_image,
    refuse_if_nothing_is_left,
    write_volumes,
)
from jaxqsm.io import Image, InputError, finite_within, load
from jaxqsm.methods import AUTO, Method
from jaxqsm.pipeline import map_field, standard_standard_deviation_of


def mask(
    image: Path,
    /,
    *,
    out: Path,
    method: str = "magnitude",
    erosion: int | None = None,
    neck: float | None = None,
    phase_range: Range = None,
    overwrite: bool = False,
) -> None:
    """Mask of brain (or of all signal, in phantoms and crops) from a magnitude image, or from a phase image.

    Parameters
    ----------
    image
        3-D or 4-D (echoes) NIfTI file: magnitude, or phase for phase_quality.
    out
        Mask to write, .nii or .nii.gz.
    method
        magnitude; phase_quality: where the phase is smooth, scalp included; or deepbet: a brain extractor,
        which needs the extra jaxqsm[brain].
    erosion
        Layers of voxels taken off the border, which hold part bone or air. Default: 1, of deepbet's masks 0.
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

    def find() -> np.ndarray:
        try:
            return chosen.function(values, geometry, **keywords)
        except ValueError as error:
            raise InputError(f"{image}: {error}") from error

    write_volumes({out: console.stage("mask", find)}, stored.grid)


def unwrap(
    phase: Path,
    /,
    *,
    out: Path,
    mask: Path | None = None,
    magnitude: Path | None = None,
    echo_times: Annotated[tuple[float, ...], Several] = (),
    method: str = "romeo",
    settings: Settings = (),
    phase_range: Range = None,
    replace_nonfinite: bool = False,
    overwrite: bool = False,
) -> None:
    """Unwrapped phase in rad.

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
    method
        romeo, laplacian, best_path or learned_unwrapping.
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
    if chosen.takes_magnitude:
        keywords |= {"magnitude": magnitude_for(image, magnitude, same_echoes=True)}
        if image.data.ndim == 4 and chosen.takes("echo_times"):
            if len(echo_times) != image.data.shape[-1]:
                raise InputError(
                    f"{phase}: has {image.data.shape[-1]} echoes; pass as many --echo-times in seconds"
                )
            keywords["echo_times"] = jnp.asarray(echo_times)
    geometry = image.grid.geometry(path=phase)
    unwrapped = console.stage(
        method, lambda: chosen.function(jnp.asarray(radians), inside, geometry, **keywords)
    )
    write_volumes({out: unwrapped}, image.grid)


def field(
    *,
    out: Path,
    signal: SignalOptions = SignalOptions(),
    mask: Path | None = None,
    out_mask: Path | None = None,
    out_hertz: Path | None = None,
    out_quality: Path | None = None,
    masking: MaskOptions = MaskOptions(),
    methods: FieldOptions = FieldOptions(),
    reading: ReadingOptions = ReadingOptions(),
    overwrite: bool = False,
) -> None:
    """Total field in ppm from multi-echo phase: offset removal, unwrapping, weighted fit.

    Parameters
    ----------
    out
        Total field to write.
    mask
        Where to fit. Default: made from the magnitude.
    out_mask
        Also write the mask that was used.
    out_hertz
        Also write the total field in Hz: a B0 map.
    out_quality
        Also write how far the echoes of a voxel agree on its field, 0 to 1.
    overwrite
        Replace the files.
    """
    check_output(out, overwrite)
    others = {"--out-mask": out_mask, "--out-hertz": out_hertz, "--out-quality": out_quality}
    for option, path in others.items():
        if path is not None:
            check_output(path, overwrite, option=option)
    config, mask_config = methods.config(), masking.config()
    scan = read_scan(signal, mask, reading)
    for text in scan.notes:
        console.note(text)
    result = map_field(scan, config, mask_config, announce=console.stage)
    for text in result.notes[len(scan.notes) :]:
        console.note(text)
    for text in result.warnings:
        console.warn(text)
    total = result.maps.total_field
    hertz = total * float(scan.acquisition.hertz_per_ppm)
    volumes = zip(others.values(), (result.mask, hertz, result.maps.reliability), strict=True)
    outputs = {out: total} | {path: volume for path, volume in volumes if path is not None}
    write_volumes(outputs, scan.grid)


def background(
    total_field: Path,
    /,
    *,
    mask: Path,
    out: Path,
    out_mask: Path | None = None,
    method: str = "residual_resharp",
    magnitude: Path | None = None,
    b0_dir: Direction = None,
    settings: Settings = (),
    replace_nonfinite: bool = False,
    overwrite: bool = False,
) -> None:
    """Local field in ppm from a total field in ppm.

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
    method
        residual_resharp, v_sharp (fast), or another one that `jaxqsm methods` lists.
    magnitude
        Weights, for methods that take them.
    b0_dir
        Field direction in voxel axes. Default: from the affine.
    settings
        Options of the method: OPTION=VALUE.
    replace_nonfinite
        Accept NaN and infinite voxels within the mask, and take them out of it. Outside they never matter.
    overwrite
        Replace the files.
    """
    chosen = chosen_method("background", method)
    given = settings_of(chosen, settings)
    check_output(out, overwrite)
    if out_mask is not None:
        check_output(out_mask, overwrite, option="--out-mask")
    image, inside = load_field(total_field, mask, replace_nonfinite=replace_nonfinite)
    true_geometry = geometry_of(image, b0_dir)
    keywords, geometry, scale = at_scale(chosen, given, inside, true_geometry)
    keywords |= _weights(chosen, image, magnitude)
    values = jnp.asarray(centred(image.data, inside))
    local, valid = console.stage(method, lambda: chosen.function(values, inside, geometry, **keywords))
    refuse_if_nothing_is_left(valid, mask, inside, true_geometry, chosen, given, scale)
    write_volumes({out: local} | ({} if out_mask is None else {out_mask: valid}), image.grid)


def invert(
    field: Path,
    /,
    *,
    mask: Path,
    out: Path,
    out_mask: Path | None = None,
    out_std: Path | None = None,
    method: str = "tv",
    uncertainty: str = "learned_standard_deviation",
    magnitude: Path | None = None,
    csf_mask: Path | None = None,
    b0_dir: Direction = None,
    settings: Settings = (),
    replace_nonfinite: bool = False,
    overwrite: bool = False,
) -> None:
    """Susceptibility in ppm from a local field in ppm, or from a total field in a single step.

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
    method
        tv, medi, tgv, fansi_tv, fansi_tgv, l1_qsm, hd_qsm, wh_qsm, amp_pe, ndi, rts, heidi, star, ilsqr,
        tikhonov, tkd, tsvd or learned (a network); in a single step ss_tv. See jaxqsm methods.
    uncertainty
        What --out-std is by: learned_standard_deviation, deep_ensemble (four networks), laplace, noise_propagation,
        bootstrap (inverts eight times), gibbs or diffusion (both slow).
    magnitude
        Weights, for methods that take them.
    csf_mask
        Cerebrospinal fluid, which medi takes as zero (MEDI+0).
    b0_dir
        Field direction in voxel axes. Default: from the affine.
    settings
        Options of the method: OPTION=VALUE, e.g. weight=0.0001; weight=auto finds it by cross-validation.
    replace_nonfinite
        Accept NaN and infinite voxels within the mask, and take them out of it. Outside they never matter.
    overwrite
        Replace the file.
    """
    chosen = chosen_method(["inversion", "single_step"], method)
    of_chi = chosen_method("uncertainty", uncertainty, option="--uncertainty")
    given = settings_of(chosen, settings)
    check_output(out, overwrite)
    if out_mask is not None:
        check_output(out_mask, overwrite, option="--out-mask")
    if out_std is not None:
        check_output(out_std, overwrite, option="--out-std")
        if chosen.stage == "single_step":
            raise InputError(f"--out-std: {method} takes a total field; use jaxqsm run --uncertainty")
    image, inside = load_field(field, mask, replace_nonfinite=replace_nonfinite)
    true_geometry = geometry_of(image, b0_dir)
    keywords, geometry, scale = at_scale(chosen, given, inside, true_geometry)
    keywords |= _weights(chosen, image, magnitude)
    if csf_mask is not None:
        if not chosen.takes("csf_mask"):
            raise InputError(f"--csf-mask: {method} does not use it; medi does")
        keywords |= {"csf_mask": jnp.asarray(mask_for(image, csf_mask))}
    values = jnp.asarray(centred(image.data, inside) if chosen.stage == "single_step" else image.data)
    if keywords.get("weight") == AUTO:
        keywords = console.stage(
            "weight, by cross-validation", lambda: chosen.settled(values, inside, geometry, keywords)
        )
        console.note(f"weight {chosen.option('weight').times(keywords['weight'], scale):.3g}")
    try:
        chi = console.stage(method, lambda: chosen.function(values, inside, geometry, **keywords))
    except ValueError as error:  # such as a file of weights that is none
        raise InputError(f"--method {method}: {error}") from error
    chi, valid = chi if chosen.stage == "single_step" else (chi, inside)
    refuse_if_nothing_is_left(valid, mask, inside, true_geometry, chosen, given, scale)
    outputs = {out: chi} | ({} if out_mask is None else {out_mask: valid})
    if out_std is not None:
        weights = magnitude_for(image, magnitude, same_echoes=False)
        known = (chi, values, jnp.asarray(inside), geometry, chosen, keywords)
        outputs[out_std] = console.stage(
            f"uncertainty ({uncertainty})",
            lambda: standard_standard_deviation_of(of_chi, *known, magnitude=weights, options={}),
        )
    write_volumes(outputs, image.grid)


def centred(field: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A total field without its mean in the mask, which no source makes, and zero outside."""
    mean = field[mask].mean() if mask.any() else 0.0
    return np.where(mask, field - mean, 0)


def _weights(method: Method, image: Image, magnitude: Path | None) -> dict[str, Any]:
    """The magnitude, for methods that take it."""
    if magnitude is None or not method.takes_magnitude:
        return {}
    return {"magnitude": magnitude_for(image, magnitude, same_echoes=False)}
