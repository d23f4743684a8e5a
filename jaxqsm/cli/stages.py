"""Single stages, exchanging files in rad and ppm as the QSM-CI contract names them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np

from jaxqsm.cli import console
from jaxqsm.cli.options import (
    Direction,
    FieldOptions,
    Range,
    ReadingOptions,
    Settings,
    Several,
    settings_of,
)
from jaxqsm.cli.volumes import check_output, chosen_method, load_field, magnitude_for, mask_for, write_volumes
from jaxqsm.io import Image, InputError, geometry_from, load, load_scan, to_radians
from jaxqsm.pipeline import AUTO, Method, deviation_of, reconstruct_scan


def mask(
    image: Path,
    /,
    *,
    out: Path,
    method: str = "magnitude",
    erosion: int | None = None,
    neck: float = 18.0,
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
        Half width in mm of the bridges to skull and neck that are cut (magnitude).
    phase_range
        Stored values that stand for −π and π (phase_quality). Default: recognised.
    overwrite
        Replace the file.
    """
    check_output(out, overwrite)
    chosen = chosen_method("mask", method)
    stored = load(image)
    geometry = geometry_from(stored.affine, path=image)

    values = stored.data
    keywords: dict[str, Any] = {} if erosion is None else {"erosion": erosion}
    if chosen.name == "phase_quality":
        values, recognised = to_radians(stored.data, phase_range=phase_range, name=str(image))
        console.note(recognised)
    elif chosen.takes("affine"):
        keywords["affine"] = stored.affine
    else:
        keywords["neck"] = neck

    def find() -> np.ndarray:
        try:
            return chosen.function(values, geometry, **keywords)
        except ValueError as error:
            raise InputError(f"{image}: {error}") from error

    write_volumes({out: console.stage("mask", find)}, stored.affine)


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
    overwrite
        Replace the file.
    """
    chosen = chosen_method("unwrapping", method)
    keywords = settings_of(chosen, settings)
    check_output(out, overwrite)
    image = load(phase)
    radians, recognised = to_radians(image.data, phase_range=phase_range, name=str(phase))
    console.note(recognised)
    inside = mask_for(image, mask)
    if chosen.takes_magnitude:
        keywords |= {"magnitude": magnitude_for(image, magnitude, same_echoes=True)}
        if image.data.ndim == 4 and chosen.takes("echo_times"):
            if len(echo_times) != image.data.shape[-1]:
                raise InputError(
                    f"{phase}: has {image.data.shape[-1]} echoes; pass as many --echo-times in seconds"
                )
            keywords["echo_times"] = jnp.asarray(echo_times)
    geometry = geometry_from(image.affine, path=phase)
    unwrapped = console.stage(
        method, lambda: chosen.function(jnp.asarray(radians), inside, geometry, **keywords)
    )
    write_volumes({out: unwrapped}, image.affine)


def field(
    *,
    phase: Annotated[tuple[Path, ...], Several],
    out: Path,
    magnitude: Annotated[tuple[Path, ...], Several] = (),
    mask: Path | None = None,
    out_mask: Path | None = None,
    out_hertz: Path | None = None,
    out_quality: Path | None = None,
    echo_times: Annotated[tuple[float, ...], Several] = (),
    field_strength: float | None = None,
    methods: FieldOptions = FieldOptions(),
    reading: ReadingOptions = ReadingOptions(),
    overwrite: bool = False,
) -> None:
    """Total field in ppm from multi-echo phase: offset removal, unwrapping, weighted fit.

    Parameters
    ----------
    phase
        One 4-D NIfTI file, or one 3-D file an echo.
    out
        Total field to write.
    magnitude
        Likewise; needed unless a mask is given.
    mask
        Where to fit. Default: made from the magnitude.
    out_mask
        Also write the mask that was used.
    out_hertz
        Also write the total field in Hz: a B0 map.
    out_quality
        Also write how far the echoes of a voxel agree on its field, 0 to 1.
    echo_times
        Seconds, one an echo. Default: EchoTime of the JSON sidecars.
    field_strength
        Tesla. Default: MagneticFieldStrength of a JSON sidecar.
    overwrite
        Replace the files.
    """
    check_output(out, overwrite)
    others = {"--out-mask": out_mask, "--out-hertz": out_hertz, "--out-quality": out_quality}
    for option, path in others.items():
        if path is not None:
            check_output(path, overwrite, option=option)
    scan = load_scan(
        phase,
        magnitude,
        mask=mask,
        echo_times=echo_times or None,
        field_strength=field_strength,
        **dataclasses.asdict(reading),
    )
    for text in scan.notes:
        console.note(text)
    # The cheapest later stages: only the total field is kept.
    config = methods.config(background="v_sharp", inversion="tkd")
    result = reconstruct_scan(scan, config, announce=console.stage)
    for text in result.field_warnings:
        console.warn(text)
    total = result.maps.total_field
    hertz = total * float(scan.acquisition.hertz_per_ppm)
    volumes = zip(others.values(), (result.mask, hertz, result.maps.reliability), strict=True)
    outputs = {out: total} | {path: volume for path, volume in volumes if path is not None}
    write_volumes(outputs, scan.affine)


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
    overwrite
        Replace the files.
    """
    chosen = chosen_method("background", method)
    keywords = settings_of(chosen, settings)
    check_output(out, overwrite)
    if out_mask is not None:
        check_output(out_mask, overwrite, option="--out-mask")
    image, inside, keywords = _field_inputs(chosen, total_field, mask, magnitude, keywords)
    geometry = geometry_from(image.affine, b0_dir=b0_dir, path=total_field)
    local, valid = console.stage(
        method, lambda: chosen.function(jnp.asarray(image.data), inside, geometry, **keywords)
    )
    if not valid.any():
        raise InputError(f"{mask}: background removal left no valid voxel; pass a larger --mask")
    write_volumes({out: local} | ({} if out_mask is None else {out_mask: valid}), image.affine)


def invert(
    field: Path,
    /,
    *,
    mask: Path,
    out: Path,
    out_mask: Path | None = None,
    out_std: Path | None = None,
    method: str = "tv",
    uncertainty: str = "learned_deviation",
    magnitude: Path | None = None,
    csf_mask: Path | None = None,
    b0_dir: Direction = None,
    settings: Settings = (),
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
        What --out-std is by: learned_deviation, deep_ensemble (four networks), laplace, noise_propagation,
        bootstrap (inverts eight times), gibbs or diffusion (both slow).
    magnitude
        Weights, for methods that take them.
    csf_mask
        Cerebrospinal fluid, which medi takes as zero (MEDI+0).
    b0_dir
        Field direction in voxel axes. Default: from the affine.
    settings
        Options of the method: OPTION=VALUE, e.g. weight=0.0001; weight=auto finds it by cross-validation.
    overwrite
        Replace the file.
    """
    chosen = chosen_method(["inversion", "single_step"], method)
    of_chi = chosen_method("uncertainty", uncertainty, option="--uncertainty")
    keywords = settings_of(chosen, settings)
    check_output(out, overwrite)
    if out_mask is not None:
        check_output(out_mask, overwrite, option="--out-mask")
    if out_std is not None:
        check_output(out_std, overwrite, option="--out-std")
        if chosen.stage == "single_step":
            raise InputError(f"--out-std: {method} takes a total field; use jaxqsm run --uncertainty")
    image, inside, keywords = _field_inputs(chosen, field, mask, magnitude, keywords)
    if csf_mask is not None:
        if not chosen.takes("csf_mask"):
            raise InputError(f"--csf-mask: {method} does not use it; medi does")
        keywords |= {"csf_mask": jnp.asarray(mask_for(image, csf_mask))}
    geometry = geometry_from(image.affine, b0_dir=b0_dir, path=field)
    values = jnp.asarray(image.data)
    if keywords.get("weight") == AUTO:
        keywords = console.stage(
            "weight, by cross-validation", lambda: chosen.settled(values, inside, geometry, keywords)
        )
        console.note(f"weight {keywords['weight']:.3g}")
    try:
        chi = console.stage(method, lambda: chosen.function(values, inside, geometry, **keywords))
    except ValueError as error:  # such as a file of weights that is none
        raise InputError(f"--method {method}: {error}") from error
    chi, valid = chi if chosen.stage == "single_step" else (chi, inside)
    if not valid.any():
        raise InputError(f"{mask}: {method} left no valid voxel; pass a larger --mask")
    outputs = {out: chi} | ({} if out_mask is None else {out_mask: valid})
    if out_std is not None:
        weights = magnitude_for(image, magnitude, same_echoes=False)
        given = (chi, values, jnp.asarray(inside), geometry, chosen, keywords)
        outputs[out_std] = console.stage(
            f"uncertainty ({uncertainty})",
            lambda: deviation_of(of_chi, *given, magnitude=weights, options={}),
        )
    write_volumes(outputs, image.affine)


def _field_inputs(
    method: Method, field_path: Path, mask: Path, magnitude: Path | None, keywords: dict[str, Any]
) -> tuple[Image, np.ndarray, dict[str, Any]]:
    image = load_field(field_path)
    if method.takes_magnitude and magnitude is not None:
        keywords = keywords | {"magnitude": magnitude_for(image, magnitude, same_echoes=False)}
    return image, mask_for(image, mask), keywords
