"""What commands on single volumes share: inputs on one grid, outputs that appear whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxqsm.cli import console
from jaxqsm.cli.options import require_nifti_name
from jaxqsm.io import Image, InputError, load, load_mask, refuse_existing, require_same_grid, save, staging
from jaxqsm.pipeline import METHODS, Method


def chosen_method(stages: str | Sequence[str], name: str, *, option: str = "--method") -> Method:
    """The method of a stage, or of one of several, that an option names.

    Raises:
        InputError: there is none.
    """
    stages = [stages] if isinstance(stages, str) else stages
    known = {name: method for stage in stages for name, method in METHODS[stage].items()}
    if name not in known:
        raise InputError(f"{option} {name}: unknown; use one of {', '.join(known)}")
    return known[name]


def check_output(out: Path, overwrite: bool, *, option: str = "--out") -> None:
    """Raises:
    InputError: the output is not named as NIfTI, or exists.
    """
    require_nifti_name(option, out)
    refuse_existing([out], overwrite=overwrite)


def load_field(path: Path) -> Image:
    """A field of one volume.

    Raises:
        InputError: it cannot be read, or is not 3-D.
    """
    image = load(path)
    if image.data.ndim != 3:
        raise InputError(f"{path}: a field needs 3 dimensions, this has {image.data.ndim}")
    return image


def mask_for(image: Image, mask: Path | None) -> np.ndarray:
    """The mask on the grid of the image; everywhere where there is none."""
    if mask is None:
        return np.ones(image.data.shape[:3], bool)
    loaded = load_mask(mask)
    require_same_grid(image, loaded)
    return loaded.data


def magnitude_for(image: Image, magnitude: Path | None, *, same_echoes: bool) -> jnp.ndarray | None:
    """The magnitude on the grid of the image; echoes are joined unless they must be the same."""
    if magnitude is None:
        return None
    loaded = load(magnitude)
    require_same_grid(image, loaded)
    values = loaded.data
    if same_echoes and values.shape != image.data.shape:
        raise InputError(f"{magnitude}: shape {values.shape} differs from {image.data.shape} of {image.path}")
    if not same_echoes and values.ndim == 4:
        values = np.sqrt((values**2).sum(axis=-1))
    return jnp.asarray(values)


def write_volumes(outputs: dict[Path, Any], affine: np.ndarray) -> None:
    """Write each volume under a temporary name, then rename."""
    for path, volume in outputs.items():
        with staging(path.parent) as partial:
            save(partial / path.name, np.asarray(volume), affine)
        console.note(f"wrote {path}")
