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
from jaxqsm.cli.volumes import check_output, load_field, mask_for, write_volumes
from jaxqsm.geometry import Geometry
from jaxqsm.io import Image, InputError, geometry_from, require_same_grid

Directions = Annotated[tuple[float, ...], Parameter(consume_multiple=True)]


def cosmos(
    local_fields: Annotated[tuple[Path, ...], Several],
    /,
    *,
    b0_dirs: Directions,
    mask: Path,
    out: Path,
    overwrite: bool = False,
) -> None:
    """Susceptibility in ppm from local fields in two or more head orientations (COSMOS).

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
    overwrite
        Replace the file.
    """
    check_output(out, overwrite)
    fields, geometries, image = _read(local_fields, b0_dirs, least=2)
    inside = jnp.asarray(mask_for(image, mask))
    write_volumes(
        {out: console.stage("cosmos", lambda: inversion.cosmos(fields, inside, geometries))}, image.affine
    )


def sti(
    local_fields: Annotated[tuple[Path, ...], Several],
    /,
    *,
    b0_dirs: Directions,
    mask: Path,
    out: Path,
    weight: float = 1e-3,
    overwrite: bool = False,
) -> None:
    """Susceptibility tensor in ppm from local fields in six or more head orientations.

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
    overwrite
        Replace the file.
    """
    check_output(out, overwrite)
    fields, geometries, image = _read(local_fields, b0_dirs, least=6)
    inside = jnp.asarray(mask_for(image, mask))
    tensor = console.stage("sti", lambda: inversion.sti(fields, inside, geometries, weight=weight))
    write_volumes({out: jnp.moveaxis(tensor, 0, -1)}, image.affine)


def _read(
    paths: tuple[Path, ...], b0_dirs: tuple[float, ...], *, least: int
) -> tuple[jnp.ndarray, Geometry, Image]:
    if len(paths) < least:
        raise InputError(f"{len(paths)} fields given; {least} orientations are needed at least")
    if len(b0_dirs) != 3 * len(paths):
        raise InputError(
            f"--b0-dirs has {len(b0_dirs)} numbers; {len(paths)} fields need {3 * len(paths)}: X Y Z of each"
        )
    directions = np.reshape(b0_dirs, (-1, 3))
    if not (np.linalg.norm(directions, axis=1) > 0).all():
        raise InputError("--b0-dirs: a direction is 0 0 0")
    images = [load_field(path) for path in paths]
    for image in images[1:]:
        require_same_grid(images[0], image)
    voxel_size = geometry_from(images[0].affine, path=paths[0]).voxel_size
    each = [Geometry(voxel_size, direction) for direction in directions]
    geometries = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    return jnp.stack([jnp.asarray(image.data) for image in images]), geometries, images[0]
