"""Shared steps of commands on single volumes: inputs on one grid, outputs that appear whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxqsm.cli import console
from jaxqsm.cli.options import require_nifti_name
from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.io import (
    Grid,
    Image,
    InputError,
    direction_of_field,
    finite_within,
    load,
    load_mask,
    refuse_existing,
    require_finite,
    require_same_grid,
    save,
    sidecar_of,
    staging,
    to_radians,
)
from jaxqsm.masking import object_scale
from jaxqsm.methods import METHODS, Method
from jaxqsm.pipeline import Box, box_around, cut, noting, put_back, unfinished, why_nothing_is_left
from jaxqsm.solvers import Convergence


def chosen_method(stages: str | Sequence[str], name: str, *, option: str = "--method") -> Method:
    """Look up the method of a stage, or of one of several, that an option names.

    Raises:
        InputError: there is none.
    """
    stages = [stages] if isinstance(stages, str) else stages
    known = {name: method for stage in stages for name, method in METHODS[stage].items()}
    if name not in known:
        raise InputError(f"{option} {name}: unknown; use one of {', '.join(known)}")
    return known[name]


def check_output(out: Path | None, overwrite: bool, *, option: str = "--out") -> None:
    """Check an output before any work; None is one that is not asked for.

    Raises:
        InputError: the output is not named as NIfTI, or exists.
    """
    if out is not None:
        require_nifti_name(option, out)
        refuse_existing([out], overwrite=overwrite)


def load_field(path: Path, mask: Path | None, *, replace_nonfinite: bool) -> tuple[Image, np.ndarray]:
    """Load a field of one volume and the mask on its grid; NaN outside the mask is 0.

    Raises:
        InputError: it cannot be read, or is not 3-D; NaN within the mask unless it is to be replaced.
    """
    image = load(path, keep_nonfinite=True)
    if image.data.ndim != 3:
        raise InputError(f"{path}: a field needs 3 dimensions, this has {image.data.ndim}")
    inside = mask_for(image, mask)
    broken = ~np.isfinite(image.data)
    image = finite_within(image, inside, replace=replace_nonfinite)
    if broken.any():
        console.note(
            f"{path}: {int(broken.sum())} voxels are NaN or infinite; they count as 0 and are not in the mask"
        )
    return image, inside & ~broken


def mask_for(image: Image, mask: Path | None) -> np.ndarray:
    """Load the mask on the grid of the image; without one, everything is inside."""
    if mask is None:
        return np.ones(image.data.shape[:3], bool)
    loaded = load_mask(mask)
    require_same_grid(image, loaded)
    return loaded.data


def box_of(mask: np.ndarray) -> Box:
    """Find the box that the work is done in; the whole array where the mask is empty."""
    x, y, z = (slice(0, n) for n in mask.shape)
    return box_around(mask) if mask.any() else (x, y, z)


def geometry_of(image: Image, b0_dir: tuple[float, float, float] | None = None) -> Geometry:
    """Read the geometry of an image from an option, sidecar or header, and print any doubts."""
    geometry, doubts, origin = direction_of_field(image, [sidecar_of(image.path)], b0_dir)
    for text in (*image.grid.said, f"field direction from {origin}"):
        console.note(text)
    for text in doubts:
        console.warn(text)
    return geometry


def at_scale(
    method: Method, settings: dict[str, Any], mask: np.ndarray, geometry: Geometry
) -> tuple[dict[str, Any], Geometry, float]:
    """Scale settings and geometry to an object of an adult's size; returns the object's scale too."""
    scale = float(object_scale(jnp.asarray(mask), geometry)) if mask.any() else 1.0
    converted = {name: method.option(name).times(value, 1 / scale) for name, value in settings.items()}
    return converted, geometry.scaled(1 / scale), scale


def found_by(method: Method, *arrays: Any, **keywords: Any) -> Any:
    """Call a method under its name, and warn of iterations that did not converge."""
    ended: dict[str, tuple[Convergence, ...]] = {}
    with console.stage(method.name) as done:
        found = done(noting(ended)(method.function, *arrays, **keywords))
    for doubt in unfinished(ended):
        console.warn(doubt)
    return found


def refuse_if_nothing_is_left(
    valid: Any,
    mask: Path,
    inside: np.ndarray,
    geometry: Geometry,
    method: Method,
    settings: dict[str, Any],
    scale: float,
) -> None:
    """Check that a result has a valid voxel.

    Raises:
        InputError: no voxel is valid; says why.
    """
    if valid.any():
        return
    options = {o.name: settings.get(o.name, o.times(o.default, scale)) for o in method.options}
    cause = why_nothing_is_left(inside, np.zeros_like(inside), geometry, {method.name: options}, least=0)
    raise InputError(f"{mask}: no voxel is valid: {cause}")


def magnitude_for(image: Image, magnitude: Path | None, *, same_echoes: bool) -> np.ndarray | None:
    """Load the magnitude on the grid of the image, relative to its largest value.

    Echoes are joined unless they must be the same. NaN counts as no signal.
    """
    if magnitude is None:
        return None
    loaded = load(magnitude, replace_nonfinite=True)
    require_same_grid(image, loaded)
    values = np.maximum(loaded.data, 0)
    if same_echoes and values.shape != image.data.shape:
        raise InputError(f"{magnitude}: shape {values.shape} differs from {image.data.shape} of {image.path}")
    values = values / max(float(values.max()), 1e-30)
    if not same_echoes and values.ndim == 4:
        values = np.sqrt((values**2).sum(axis=-1))
    return values.astype(np.float32)


def radians_of_image(image: Image, phase_range: tuple[float, float] | None) -> np.ndarray:
    """Convert stored phase to rad and print the recognised scale."""
    units = sidecar_of(image.path).text("Units")
    unscaled = np.nan_to_num(image.unscaled)
    radians, recognised = to_radians(
        image.data, unscaled=unscaled, units=units, phase_range=phase_range, name=str(image.path)
    )
    console.note(recognised)
    return radians


def out_of_box(
    outputs: Mapping[Path | None, Any], box: Box, shape: tuple[int, ...]
) -> dict[Path, np.ndarray]:
    """Put the volumes that are asked for back into arrays of ``shape``."""
    return {path: put_back(np.asarray(v), box, shape) for path, v in outputs.items() if path is not None}


def write_volumes(outputs: Mapping[Path, Any] | Mapping[Path | None, Any], grid: Grid) -> None:
    """Write each volume that is asked for under a temporary name, then rename; none if one is not finite."""
    asked_for = {path: np.asarray(volume) for path, volume in outputs.items() if path is not None}
    require_finite(asked_for)
    for path, volume in asked_for.items():
        with staging(path.parent) as partial:
            save(partial / path.name, volume, grid)
        console.note(f"wrote {path}")


def centred(field: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Subtract the mean of a total field in the mask, which has no source; zero outside."""
    mean = field[mask].mean() if mask.any() else 0.0
    return np.where(mask, field - mean, 0)


def taken(method: Method, images: Mapping[str, jnp.ndarray | None]) -> dict[str, jnp.ndarray]:
    """Keep those images that are given and that the method takes."""
    return {name: values for name, values in images.items() if values is not None and method.takes(name)}


def images_of(
    image: Image, magnitude: Path | None, weights: Path | None, box: Box
) -> dict[str, jnp.ndarray | None]:
    """Load magnitude and weights on the grid of the image, and cut the box out of them."""
    loaded = {
        name: magnitude_for(image, path, same_echoes=False)
        for name, path in (("magnitude", magnitude), ("weights", weights))
    }
    return {
        name: None if values is None else jnp.asarray(cut(values, box)) for name, values in loaded.items()
    }


def acquisition_of(
    image: Image, echo_times: tuple[float, ...], field_strength: float | None
) -> Acquisition | None:
    """Read echo times and field strength from options or sidecar; None where either is unknown."""
    sidecar = sidecar_of(image.path)
    times = list(echo_times) or sidecar.numbers("EchoTime")
    tesla = field_strength if field_strength is not None else sidecar.number("MagneticFieldStrength")
    if not times or tesla is None:
        return None
    return Acquisition(times, tesla)
