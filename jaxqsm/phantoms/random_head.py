"""A whole head of a random person."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.operators import erode
from jaxqsm.phantoms.head import HeadPhantom, checked_voxel_size
from jaxqsm.phantoms.subject import (
    Subject,
    Tissues,
    fibre_directions,
    random_subject,
    sample,
    sample_coarsely,
)
from jaxqsm.phantoms.template import ANATOMY, CENTRE, TEMPLATE_ORIGIN, Template, template
from jaxqsm.phantoms.tissues import AIR_CHI, WHOLE, Tissue

SLAB = 32
"""Slices that are sampled at a time, so that memory stays that of the result."""

RIM = 1.0
"""mm that a brain extractor leaves out."""

STEP = 5.0
"""mm of the grid that the head's extent is found on."""


def random_head(
    voxel_size: Sequence[float] = (1.0, 1.0, 1.0),
    *,
    key: PRNGKeyArray,
    field_strength: float = 3.0,
    age: float | None = None,
    pathology: float = 0.3,
    contrast: float = 1.0,
    texture: float = 1.0,
    anisotropy: float = 0.0,
    vein_trees: int = 40,
) -> HeadPhantom:
    """Draw the whole head of a synthetic subject: shape, tissue values, veins and lesions.

    The anatomy of :func:`~jaxqsm.phantoms.head`, turned, scaled, mirrored at random and deformed by a
    smooth invertible flow; χ by age and chance, with texture, tract and cortical contrast.

    Args:
        key: random key; one person a key, at any voxel size.
        voxel_size: mm.
        field_strength: tesla; T1 and R2* follow it.
        age: years; default drawn from 5 … 90.
        pathology: probability of each lesion and of each strong body outside the brain (metal at the
            teeth …); default 0.3, 0 for a healthy head.
        contrast: factor on the χ of all that is within the skull; default 1.
        texture: factor on the variation of χ within tissues, whose standard deviation is otherwise 6 to 25
            parts in a billion; default 1.
        anisotropy: ppm by which χ along white-matter fibres exceeds that across; default 0. Myelin's is
            near −0.02 (Wharton & Bowtell 2012, PNAS 109:18559, doi:10.1073/pnas.1211075109).
        vein_trees: vein trees beyond the template's own veins; default 40.

    Returns:
        The phantom, cropped to the head. Seconds at 1 mm.

    Raises:
        ValueError: a voxel size that is not positive.
    """
    size = checked_voxel_size(voxel_size)
    anatomy = template()
    subject = _subject(key, anatomy, field_strength, age, pathology, contrast, texture, vein_trees)
    first, last = _extent(subject, anatomy)
    shape = [int(np.ceil((last[i] - first[i]) / size[i] / 8)) * 8 for i in range(3)]
    slabs = -(-shape[2] // SLAB)
    parts: list[Tissues] = []
    for slab in range(slabs):
        low = first + np.array([0, 0, slab * SLAB * size[2]])
        # Texture is drawn anew in every slab.
        person = subject._replace(texture_key=jax.random.fold_in(subject.texture_key, slab))
        parts.append(_slab(person, anatomy, (shape[0], shape[1], SLAB), jnp.asarray(low, jnp.float32), size))
    head = jax.tree.map(lambda *maps: np.concatenate(maps, axis=2)[:, :, : shape[2]], *parts)
    fibres, strength = None, None
    if anisotropy:
        axes = tuple(first[i] + size[i] * jnp.arange(float(n)) for i, n in enumerate(shape))
        fibres = _fibres(subject, anatomy, axes)
        strength = jnp.asarray(anisotropy * (head.code == ANATOMY.index(Tissue.WHITE_MATTER)), jnp.float32)
    labels = np.array(ANATOMY, np.uint8)[head.code]
    return HeadPhantom(
        chi=jnp.asarray(head.chi),
        proton_density=jnp.asarray(head.proton_density),
        t1=jnp.asarray(head.t1),
        r2star=jnp.asarray(head.r2star),
        labels=labels,
        mask=np.asarray(erode(jnp.asarray(head.skull > WHOLE), RIM, Geometry(size))),
        voxel_size=size,
        origin=(float(first[0]), float(first[1]), float(first[2])),
        fibres=fibres,
        anisotropy=strength,
    )


@partial(jax.jit, static_argnames=("age", "vein_trees"))
def _subject(
    key: PRNGKeyArray,
    anatomy: Template,
    field_strength: float,
    age: float | None,
    pathology: float,
    contrast: float,
    texture: float,
    vein_trees: int,
) -> Subject:
    return random_subject(
        anatomy,
        field_strength=field_strength,
        age=age,
        pathology=pathology,
        contrast=contrast,
        texture=texture,
        vein_trees=vein_trees,
        key=key,
    )


@partial(jax.jit, static_argnames=("shape", "size"))
def _slab(
    subject: Subject, anatomy: Template, shape: tuple[int, int, int], origin: Array, size: tuple[float, ...]
) -> Tissues:
    return sample(subject, anatomy, shape, origin, jnp.array(size), finest=size)


@jax.jit
def _fibres(subject: Subject, anatomy: Template, axes: tuple[Array, Array, Array]) -> Array:
    return fibre_directions(subject, anatomy, axes)


def _extent(subject: Subject, anatomy: Template) -> tuple[np.ndarray, np.ndarray]:
    """Corners in mm of the box that holds the head, down to the template's lowest slice."""
    count = 60
    first = CENTRE - STEP * (count - 1) / 2
    steps = jnp.full(3, STEP)
    coarse = jax.jit(sample_coarsely, static_argnums=2)
    _, outside, skull = coarse(subject, anatomy, (count,) * 3, jnp.asarray(first, jnp.float32), steps)
    head = (np.asarray(outside) < 0.7 * AIR_CHI) | (np.asarray(skull) > 0.3)
    low, high = np.argwhere(head).min(axis=0), np.argwhere(head).max(axis=0)
    low, high = first + STEP * (low - 1), first + STEP * (high + 1)
    low[2] = TEMPLATE_ORIGIN[2]
    return low, high
