"""Options that several commands share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from jaxqsm.cli.choices import method_of
from jaxqsm.io import InputError
from jaxqsm.methods import Method
from jaxqsm.pipeline import TWO_STAGE, Config, MaskConfig

Several = Parameter(consume_multiple=True)
Direction = Annotated[tuple[float, float, float] | None, Parameter(allow_leading_hyphen=True)]
Range = Annotated[tuple[float, float] | None, Parameter(allow_leading_hyphen=True)]
Settings = Annotated[tuple[str, ...], Parameter(name="--set", consume_multiple=True)]


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class SignalOptions:
    """Files of the multi-echo signal: phase and magnitude, or complex images, or their two parts."""

    phase: Annotated[tuple[Path, ...], Several] = ()
    "One 4-D NIfTI file, or one 3-D file an echo. The scale is recognised."
    magnitude: Annotated[tuple[Path, ...], Several] = ()
    "Likewise; needed unless a mask is given."
    complex_images: Annotated[tuple[Path, ...], Parameter(name="--complex", consume_multiple=True)] = ()
    "Likewise, complex NIfTI files in place of both."
    real: Annotated[tuple[Path, ...], Several] = ()
    "Likewise, real part; with --imaginary in place of all others."
    imaginary: Annotated[tuple[Path, ...], Several] = ()
    "Likewise, imaginary part."
    dicom: Path | None = None
    "Folder of DICOM files of one scan, in place of all others; needs the extra jaxqsm[dicom]."


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class MaskOptions:
    """Mask options: how it is made where none is given, and its erosion."""

    mask_method: Annotated[str, method_of("mask", says="How the mask is made where none is given")] = (
        MaskConfig.method
    )
    erosion: float = MaskConfig.erosion
    "Taken off the border of the mask, given or made, mm."

    def config(self) -> MaskConfig:
        """Build the pipeline's mask configuration.

        Raises:
            InputError: unknown method, or a length below zero.
        """
        try:
            return MaskConfig(self.mask_method, self.erosion)
        except ValueError as error:
            raise InputError(f"--mask-method or --erosion: {error}") from error


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class ReadingOptions:
    """Options on how stored values are to be understood."""

    echo_times: Annotated[tuple[float, ...], Several] = ()
    "Seconds, one an echo, in the order of the files. Default: EchoTime of the JSON sidecars."
    field_strength: float | None = None
    "Tesla. Default: MagneticFieldStrength of a JSON sidecar."
    b0_dir: Direction = None
    "Field direction in voxel axes, X Y Z. Default: B0_dir of a sidecar, or from the NIfTI header."
    phase_range: Range = None
    "Stored values that stand for −π and π. Default: recognised from data and sidecar."
    invert_phase: bool = False
    "Flip the sign of the phase (scanners whose phase falls where the field is higher)."
    replace_nonfinite: bool = False
    "Accept NaN and infinite voxels within the mask, and take them out of it. Outside they never matter."


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class StageOptions:
    """Options of a command that runs one method on one field."""

    settings: Settings = ()
    "Options of the method: OPTION=VALUE."
    b0_dir: Direction = None
    "Field direction in voxel axes. Default: from the affine."
    replace_nonfinite: bool = False
    "Accept NaN and infinite voxels within the mask, and take them out of it. Outside they never matter."
    overwrite: bool = False
    "Replace the files."


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class FieldOptions:
    """Which methods on the way to the total field, with which options."""

    signal: Annotated[
        str,
        method_of(
            "signal",
            says="From the complex signal to χ at once, in place of all other stages",
            others=("none",),
        ),
    ] = Config.signal
    unwrapping: Annotated[str, method_of("unwrapping", says="Unwrapping")] = Config.unwrapping
    phase_offset: Annotated[
        str,
        method_of(
            "phase_offset", says="Phase offset removal, auto by the number of echoes", others=("none", "auto")
        ),
    ] = Config.phase_offset
    bipolar: bool = Config.bipolar
    "Echoes were read in alternating directions: bring every second one to the others first."
    field_mapping: Annotated[str, method_of("field_mapping", says="Fit over echoes")] = Config.field_mapping
    settings: Settings = ()
    "Options of methods: METHOD.OPTION=VALUE, e.g. romeo.individual=true."

    def config(self, **others: Any) -> Config:
        """Build the pipeline's configuration, with ``others`` of its entries.

        Raises:
            InputError: unknown method or option, or a value that does not fit.
        """
        named = {setting.partition(".")[0] for setting in self.settings}
        chosen = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "settings"}
        empty: dict[str, dict[str, Any]] = {name: {} for name in named & set(TWO_STAGE.values())}
        try:
            bare = Config(**(chosen | others), options=empty)
            used = {step.method.name: step.method for step in bare.plan(2).steps.values()}
            options = settings_by_method(used, self.settings)
            return dataclasses.replace(bare, options=options)
        except ValueError as error:
            raise InputError(str(error)) from error


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class MethodOptions(FieldOptions):
    """Which methods from the signal to χ, with which options."""

    reliability: float = Config.reliability
    "Least agreement of a voxel's echoes, 0 to 1, for its field to count; 0 lets every voxel count."
    background: Annotated[
        str,
        method_of(
            "background",
            says="Background removal; naming one, or an inversion, asks for two stages",
            others=("auto",),
        ),
    ] = Config.background
    inversion: Annotated[str, method_of("inversion", says="Dipole inversion", others=("auto",))] = (
        Config.inversion
    )
    single_step: Annotated[
        str,
        method_of(
            "single_step",
            says="From total field to χ in one step, auto unless two stages are named",
            others=("none", "auto"),
        ),
    ] = Config.single_step
    two_pass: bool = Config.two_pass
    "Invert a second time without the unreliable voxels, which keep χ of the first pass; two stages only."
    uncertainty: Annotated[
        str, method_of("uncertainty", says="Also write the standard deviation of χ", others=("none",))
    ] = Config.uncertainty


def settings_by_method(methods: Mapping[str, Method], settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parse ``METHOD.OPTION=VALUE`` settings, by method.

    Raises:
        InputError: not of that form, unknown method or option, or a value that does not fit.
    """
    options: dict[str, dict[str, Any]] = {}
    for setting in settings:
        name, dot, assignment = setting.partition(".")
        if not dot or name not in methods:
            raise InputError(f"--set {setting}: needs METHOD.OPTION=VALUE with one of {', '.join(methods)}")
        try:
            options.setdefault(name, {}).update(_assignment(methods[name], assignment))
        except ValueError as error:
            raise InputError(f"--set {setting}: {error}") from error
    return options


def settings_of(method: Method, settings: Sequence[str]) -> dict[str, Any]:
    """Parse ``OPTION=VALUE`` settings of one method.

    Raises:
        InputError: unknown option, or a value that does not fit.
    """
    values: dict[str, Any] = {}
    try:
        for setting in settings:
            values |= _assignment(method, setting)
    except ValueError as error:
        raise InputError(f"--set: {error}") from error
    return values


def _assignment(method: Method, text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} needs the form OPTION=VALUE")
    return {name: method.option(name).parse(value)}


def require_nifti_name(option: str, path: Path) -> None:
    """Check the name of an output.

    Raises:
        InputError: the output is not named as NIfTI.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{option} {path}: the name must end in .nii or .nii.gz")
