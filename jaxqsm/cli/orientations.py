"""jaxqsm cosmos and sti: several head orientations, registered to one grid."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from cyclopts import Parameter

from jaxqsm import inversion
from jaxqsm.cli import console
from jaxqsm.cli.options import Several
from jaxqsm.cli.volumes import check_output, load_field, write_volumes
from jaxqsm.geometry import Geometry
from jaxqsm.io import Grid, Image, InputError, require_same_grid

Directions = Annotated[tuple[float, ...], Parameter(consume_multiple=True)]


def cosmos(
    local_fields: Annotated[tuple[Path, ...], Several],
    /,
    *,
    b0_dirs: Directions,
    mask: Path,
    out: Path,
    replace_nonfinite: bool = False,
    overwrite: bool = False,
) -> None:
    """Invert local fields of two or more head orientations to susceptibility in ppm (COSMOS).

    Parameters
    ----------
    local_fields
        3-D NIfTI files, ppm, registered to one grid.
    b0_dirs
        Field direction of each in voxel axes of that grid: X Y Z X Y Z ...
    mask
        Where all fields are valid.
    out
        χ to write; its mean in the mask is zero.
    replace_nonfinite
        Accept NaN and infinite voxels within the mask, as 0. Outside they never matter.
    overwrite
        Replace the file.
    """
    check_output(out, overwrite)
    fields, geometries, image, inside = _read(local_fields, b0_dirs, mask, replace_nonfinite, least=2)
    with console.stage("cosmos") as done:
        chi = done(inversion.cosmos(fields, inside, geometries))
    write_volumes({out: chi}, image.grid)


def sti(
    local_fields: Annotated[tuple[Path, ...], Several],
    /,
    *,
    b0_dirs: Directions,
    mask: Path,
    out: Path,
    weight: float = 1e-3,
    replace_nonfinite: bool = False,
    overwrite: bool = False,
) -> None:
    """Invert local fields of six or more head orientations to a susceptibility tensor in ppm.

    Parameters
    ----------
    local_fields
        3-D NIfTI files, ppm, registered to one grid.
    b0_dirs
        Field direction of each in voxel axes of that grid: X Y Z X Y Z ...
    mask
        Where all fields are valid.
    out
        Tensor to write, 4-D: xx, xy, xz, yy, yz, zz in voxel axes.
    weight
        Of the penalty on the tensor's size.
    replace_nonfinite
        Accept NaN and infinite voxels within the mask, as 0. Outside they never matter.
    overwrite
        Replace the file.
    """
    check_output(out, overwrite)
    fields, geometries, image, inside = _read(local_fields, b0_dirs, mask, replace_nonfinite, least=6)
    with console.stage("sti") as done:
        tensor = done(inversion.sti(fields, inside, geometries, weight=weight))
    write_volumes({out: _in_stored_axes(np.moveaxis(np.asarray(tensor), 0, -1), image.grid)}, image.grid)


def _read(
    paths: tuple[Path, ...], b0_dirs: tuple[float, ...], mask: Path, replace_nonfinite: bool, *, least: int
) -> tuple[jnp.ndarray, Geometry, Image, jnp.ndarray]:
    if len(paths) < least:
        raise InputError(f"{len(paths)} fields given; {least} orientations are needed at least")
    if len(b0_dirs) != 3 * len(paths):
        raise InputError(
            f"--b0-dirs has {len(b0_dirs)} numbers; {len(paths)} fields need {3 * len(paths)}: X Y Z of each"
        )
    read = [load_field(path, mask, replace_nonfinite=replace_nonfinite) for path in paths]
    images = [image for image, _ in read]
    for image in images[1:]:
        require_same_grid(images[0], image)
    each = [
        images[0].grid.geometry(b0_dir=direction, path=paths[0]) for direction in np.reshape(b0_dirs, (-1, 3))
    ]
    geometries = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    inside = np.all([inside for _, inside in read], axis=0)
    return jnp.stack([jnp.asarray(i.data) for i in images]), geometries, images[0], jnp.asarray(inside)


def _in_stored_axes(tensor: np.ndarray, grid: Grid) -> np.ndarray:
    """Entries xx, xy, xz, yy, yz, zz of memory's axes as those of the file's."""
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    entries = []
    for pair in pairs:
        (i, a), (j, b) = ((int(grid.order[axis][0]), grid.order[axis][1]) for axis in pair)
        entries.append(a * b * tensor[..., pairs.index((min(i, j), max(i, j)))])
    return np.stack(entries, axis=-1)
