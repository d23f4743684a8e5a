"""A person drawn at random: a head as a function of position, which any grid can sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.operators import gaussian_mean
from jaxqsm.phantoms.bodies import Bodies, paint, stack
from jaxqsm.phantoms.deformation import displacement_at, random_deformation
from jaxqsm.phantoms.pathology import LESION_REACH, random_lesions, random_outside_sources
from jaxqsm.phantoms.random_shapes import random_field
from jaxqsm.phantoms.template import (
    ANATOMY,
    CENTRE,
    COARSE_STEP,
    TEMPLATE_ORIGIN,
    TEMPLATE_SHAPE,
    Template,
    intracranial,
)
from jaxqsm.phantoms.tissues import TISSUES, Tissue
from jaxqsm.phantoms.vessels import BLOOD_CHI, SEGMENT_REACH, random_vein_tree

REFERENCE_AGE = 40.0
"""Years, at which tissues have the values of :data:`~jaxqsm.phantoms.TISSUES`."""

TRACTS = 49
WHITE, GREY, VEIN, FLUID = (
    ANATOMY.index(t) for t in (Tissue.WHITE_MATTER, Tissue.GREY_MATTER, Tissue.VEIN, Tissue.CSF)
)

FOLD_LENGTH = 7.0
"""mm, standard deviation of the Gaussian that shapes random sulci; they are about thrice as far apart."""

FOLD_WIDTH = 1.5
"""mm of fluid in a random sulcus."""

CORTEX = 2.5
"""mm, its thickness."""

VENTRICLES, VENTRICLES_REACH = (0.0, -12.0, 18.0), 25.0
"""mm, in template coordinates: their middle, and the standard deviation of the Gaussian about it in which
atrophy widens them."""

WIDENING = 0.35
"""Part by which distances from the middle of the ventricles shrink onto the template's at an atrophy of 1."""

THINNING = 1.0
"""mm, standard deviation of the Gaussian by which fluid spreads into cortex at an atrophy of 1."""


class Subject(NamedTuple):
    """Anatomy of one synthetic subject. A pytree: ``vmap`` over keys gives a population.

    Attributes:
        turn: matrix from head to template coordinates, about the head's centre.
        shift: mm, added after it.
        displacement: mm, at the control points of :func:`random_deformation`.
        chi: ppm, of each tissue of ``ANATOMY``.
        proton_density: relative to fluid.
        t1: s.
        r2star: 1/s.
        texture: ppm of χ for one standard deviation of T1-weighted intensity.
        tract_chi: ppm that each white-matter tract adds; entry 0 is white matter in no tract.
        laminar: ppm that the cortex adds: slope over its depth, and a band in its middle.
        lesions: bodies within the skull of up to 70 mm, and strong bodies outside it.
        vessels: capsules.
        texture_key: random key of the texture that the template does not show.
        likeness: correlation of the texture of signal and relaxation with that of χ.
        sulci: 1 where cortex is folded at random besides the template's own, 0 where it is not.
        atrophy: 0 for the template's ventricles and sulci, 1 for wide ones.
    """

    turn: Float[Array, "3 3"]
    shift: Float[Array, 3]
    displacement: Float[Array, "3 x y z"]
    chi: Float[Array, tissue]
    proton_density: Float[Array, tissue]
    t1: Float[Array, tissue]
    r2star: Float[Array, tissue]
    texture: Float[Array, tissue]
    tract_chi: Float[Array, tract]
    laminar: Float[Array, 2]
    lesions: Bodies
    vessels: Bodies
    texture_key: PRNGKeyArray
    likeness: Float[Array, ""]
    sulci: Float[Array, ""]
    atrophy: Float[Array, ""]


class Tissues(NamedTuple):
    """A head on a grid, all ``(x, y, z)``: χ (ppm), proton density, T1 (s), R2* (1/s), the parts of each
    voxel within the skull, in white matter and in veins, and the tissue most of it is (a code into
    ``ANATOMY``).
    """

    chi: Float[Array, "x y z"]
    proton_density: Float[Array, "x y z"]
    t1: Float[Array, "x y z"]
    r2star: Float[Array, "x y z"]
    skull: Float[Array, "x y z"]
    white: Float[Array, "x y z"]
    vein: Float[Array, "x y z"]
    code: Array


def random_subject(
    head: Template,
    *,
    key: PRNGKeyArray,
    field_strength: ArrayLike = 3.0,
    age: ArrayLike | None = None,
    pathology: ArrayLike = 0.3,
    contrast: ArrayLike = 1.0,
    texture: ArrayLike = 1.0,
    vein_trees: int = 4,
    deformation: ArrayLike = 3.0,
    likeness: ArrayLike = 1.0,
    sulci: ArrayLike = 0.0,
    atrophy: ArrayLike = 0.0,
    near: tuple[Array, Array] | None = None,
) -> Subject:
    """Draw a person: shape, side, size, tissue values by age, tracts, cortex, veins, lesions, metal.

    Args:
        key: random key.
        head: the anatomy to vary, from :func:`~jaxqsm.phantoms.template.template`.
        field_strength: tesla; T1 and R2* follow it.
        age: years, 5 to 90; default drawn evenly.
        pathology: probability of each lesion and of each strong body outside; 0 for none. Default 0.3.
        contrast: multiplies the χ of everything within the skull. Default 1.
        texture: multiplies the variation of χ within tissues. Default 1.
        vein_trees: number of vein trees beyond the template's own veins. Default 4.
        deformation: mm, standard deviation of the displacement along an axis. Default 3.
        likeness: correlation, −1 to 1, of the texture of signal and relaxation with that of χ. Default 1.
        sulci: 1 for sulci at random in white matter and cortex, 0 for those of the template. Default 0.
        atrophy: 0 to 1, widens ventricles and sulci: at 1 ventricles by half, and fluid takes the outermost
            cortex. Default 0.
        near: low and high corner in mm: lesions and veins are placed between them where that is possible.

    Returns:
        The subject, for :func:`sample`.
    """
    (
        key_age, key_turn, key_shift, key_scale, key_flip, key_flow, key_values, key_tracts,
        key_cortex, key_lesions, key_outside, key_places, key_roots, key_trees, key_texture,
    ) = jax.random.split(key, 15)  # fmt: skip
    if age is None:
        age = jax.random.uniform(key_age, minval=5.0, maxval=90.0)
    turn = _rotation(0.12 * jax.random.normal(key_turn, (3,)))
    size = jnp.exp(0.05 * jax.random.normal(key_scale, (3,)))
    mirror = jnp.ones(3).at[0].set(jax.random.rademacher(key_flip, ()).astype(float))
    turn = jnp.diag(mirror / size) @ turn
    shift = 4.0 * jax.random.normal(key_shift, (3,))
    values = _tissue_values(key_values, jnp.asarray(age), jnp.asarray(field_strength), jnp.asarray(contrast))
    places = (head.places - CENTRE - shift) @ jnp.linalg.inv(turn).T + CENTRE
    if near is not None:
        inside = jnp.all((places > near[0]) & (places < near[1]), axis=1)
        weights = inside + 1e-6
        places = jax.random.choice(key_places, places, (64,), p=weights / weights.sum())
    lesions = random_lesions(places, probability=pathology, key=key_lesions)
    outside = random_outside_sources(probability=pathology, key=key_outside)
    lesions = lesions._replace(values=lesions.values.at[:, 0].multiply(jnp.asarray(contrast)))
    roots = jax.random.choice(key_roots, places, (vein_trees,))
    rate = 120.0 * jnp.asarray(field_strength) / 3.0
    trees = jax.vmap(lambda k, root: random_vein_tree(root, r2star_per_chi=rate, key=k))(
        jax.random.split(key_trees, vein_trees), roots
    )
    vessels = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), trees)
    vessels = vessels._replace(values=vessels.values.at[:, 0].multiply(jnp.asarray(contrast)))
    return Subject(
        turn=turn,
        shift=shift,
        displacement=random_deformation(displacement=deformation, key=key_flow),
        **values | {"texture": values["texture"] * texture},
        tract_chi=jnp.asarray(contrast) * 0.010 * jax.random.normal(key_tracts, (TRACTS,)),
        laminar=jnp.asarray(contrast)
        * jax.random.uniform(key_cortex, (2,), minval=jnp.array([-0.015, 0.0]), maxval=0.015),
        lesions=stack(lesions, outside),
        vessels=vessels,
        texture_key=key_texture,
        likeness=jnp.asarray(likeness, float),
        sulci=jnp.asarray(sulci, float),
        atrophy=jnp.asarray(atrophy, float),
    )


def sample(
    subject: Subject,
    head: Template,
    shape: tuple[int, int, int],
    origin: Float[Array, 3],
    voxel_size: Float[Array, 3],
    *,
    finest: Sequence[float],
) -> Tissues:
    """Sample the subject's tissues at the voxel centres of a grid.

    Args:
        subject: who.
        head: the template the subject was drawn from.
        shape: of the grid.
        origin: mm (right, front, up), centre of the first voxel.
        voxel_size: mm; may be traced.
        finest: mm, static: no voxel size is below it. Sets the boxes that bodies are painted in.

    Returns:
        The maps. Tissues fill voxels in part at their borders, over the template's 1 mm; below the
        template the neck goes on.
    """
    axes = tuple(origin[i] + voxel_size[i] * jnp.arange(n) for i, n in enumerate(shape))
    x, y, z = _template_coordinates(subject, axes)
    lower, weights = _cell(x, y, z)
    word = head.labels[lower]
    corner = [(word >> (4 * c)) & 15 for c in range(8)]
    parts = jnp.stack(
        [sum(jnp.where(corner[c] == t, weights[c], 0) for c in range(8)) for t in range(len(ANATOMY))]
    )
    parts = _folded(parts, shape, Geometry(voxel_size), subject)
    parts = _thinned(parts, Geometry(voxel_size), subject)
    words = head.intensity[0][lower], head.intensity[1][lower]
    intensity = sum(weights[c] * ((words[c // 4] >> (8 * (c % 4))) & 255) for c in range(8))
    noise_key = jax.random.fold_in(subject.texture_key, 1)
    noise = random_field(shape, Geometry(voxel_size), standard_deviation=0.7, smoothness=0.8, key=noise_key)
    standard_deviation = noise + sum(
        p * jnp.clip((intensity - m) / d, -2.5, 2.5)
        for p, m, d in zip(parts, head.intensity_mean, head.intensity_deviation, strict=True)
    )

    # Mixtures of signal relax as their bright part does.
    signal = subject.proton_density + 1e-4
    table = jnp.stack(
        [subject.chi, subject.texture, signal, signal * subject.t1, signal * subject.r2star, intracranial()]
    )
    # One product for all maps: it keeps the parts from being computed again for each.
    chi, texture, signal, t1, r2star, skull = jnp.tensordot(table, parts, axes=1, precision="highest")
    detail = head.detail[lower]
    tract, depth = (detail & 63).astype(jnp.int32), (detail >> 6).astype(jnp.float32)
    middle = jnp.exp(-0.5 * ((depth - 8) / 2) ** 2)
    laminar = subject.laminar[0] * (depth - 8) / 8 + subject.laminar[1] * middle
    chi = chi + texture * standard_deviation + parts[WHITE] * subject.tract_chi[tract]
    chi = chi + parts[GREY] * jnp.where(depth > 0, laminar, 0)
    own_key = jax.random.fold_in(subject.texture_key, 2)
    own = random_field(shape, Geometry(voxel_size), standard_deviation=1.0, smoothness=1.5, key=own_key)
    other = subject.likeness * standard_deviation + jnp.sqrt(1 - subject.likeness**2) * own
    density = (signal - 1e-4) * (1 - 0.015 * other)
    r2star = r2star / signal * (1 + 0.04 * other)
    maps = jnp.stack([chi, density, t1 / signal, r2star, parts[WHITE], skull])
    box = [int(np.ceil(LESION_REACH / v)) + 2 for v in finest]
    maps = paint(maps, subject.lesions, origin, voxel_size, box=box)
    box = [int(np.ceil(SEGMENT_REACH / v)) + 3 for v in finest]
    maps = jnp.insert(maps, 4, 1 - parts[VEIN], axis=0)
    maps = paint(maps, subject.vessels, origin, voxel_size, box=box)
    code = jnp.argmax(parts, axis=0).astype(jnp.uint8)
    chi, density, t1, r2star, rest, white, skull = maps
    return Tissues(chi, density, t1, r2star, skull, white, 1 - rest, code)


def _folded(
    parts: Float[Array, "tissue x y z"], shape: tuple[int, int, int], geometry: Geometry, subject: Subject
) -> Float[Array, "tissue x y z"]:
    """Fold sheets of fluid, lined by cortex, into white matter and cortex, in a part of the head.

    Where a smooth random field is zero there is a sheet; its distance is the field over its gradient.
    """
    of_sheet, of_place = jax.random.split(jax.random.fold_in(subject.texture_key, 3))
    sheet, place = (
        random_field(shape, geometry, standard_deviation=1.0, smoothness=length, key=key)
        for length, key in ((FOLD_LENGTH, of_sheet), (2 * FOLD_LENGTH, of_place))
    )
    # The root mean square gradient of a Gaussian field of unit variance is (3/2)^(1/2) over its length.
    distance = jnp.abs(sheet) * FOLD_LENGTH / 1.5**0.5
    there = subject.sulci * jax.nn.sigmoid(20 * (place - 0.3))
    fluid = there * jnp.clip(FOLD_WIDTH / 2 - distance + 0.5, 0, 1)
    cortex = there * jnp.clip(FOLD_WIDTH / 2 + CORTEX - distance + 0.5, 0, 1)
    white, grey = parts[WHITE], parts[GREY]
    both = white + grey
    parts = parts.at[FLUID].add(fluid * both)
    parts = parts.at[WHITE].set(white * (1 - cortex))
    return parts.at[GREY].set(grey * (1 - fluid) + white * (cortex - fluid))


def _thinned(
    parts: Float[Array, "tissue x y z"], geometry: Geometry, subject: Subject
) -> Float[Array, "tissue x y z"]:
    """Let fluid take the cortex that it borders."""
    fluid, grey = parts[FLUID], parts[GREY]
    taken = grey * jnp.clip(2 * subject.atrophy * gaussian_mean(fluid, THINNING, geometry, margin=8), 0, 1)
    return parts.at[GREY].add(-taken).at[FLUID].add(taken)


def sample_coarsely(
    subject: Subject,
    head: Template,
    shape: tuple[int, int, int],
    origin: Float[Array, 3],
    voxel_size: Float[Array, 3],
) -> tuple[Float[Array, "x y z"], Float[Array, "x y z"], Float[Array, "x y z"]]:
    """Sample χ within and outside the skull, and the part within, at voxels of 3 mm and more.

    Means over 4 mm cells, without texture, vessels or lesions within: what distant fields come from.
    """
    axes = tuple(origin[i] + voxel_size[i] * jnp.arange(n) for i, n in enumerate(shape))
    position = _template_coordinates(subject, axes)
    inside = jnp.asarray(intracranial())
    tissue = jnp.stack([subject.chi * inside, subject.chi * (1 - inside), inside], axis=1)
    fields = jnp.tensordot(head.fractions, tissue, axes=1, precision="highest")
    cells = [(p - TEMPLATE_ORIGIN[i]) / COARSE_STEP for i, p in enumerate(position)]
    within, outside, skull = (
        jax.scipy.ndimage.map_coordinates(fields[..., i], cells, order=1, mode="nearest") for i in range(3)
    )
    maps = jnp.stack([outside, *[jnp.zeros_like(outside)] * 3, skull])
    outside = paint(maps, subject.lesions, origin, voxel_size, box=shape)[0]
    return within, outside, skull


def fibre_directions(subject: Subject, head: Template, axes: tuple[Array, ...]) -> Float[Array, "3 x y z"]:
    """Sample unit vectors along white-matter fibres, in head axes, on a grid in mm."""
    position = _template_coordinates(subject, axes)
    cells = [(p - TEMPLATE_ORIGIN[i]) / COARSE_STEP for i, p in enumerate(position)]
    nearest = [jnp.clip(jnp.round(cells[i]).astype(int), 0, head.fibres.shape[i] - 1) for i in range(3)]
    # A vector along a fibre turns with the inverse of the map to the template.
    directions = jnp.tensordot(jnp.linalg.inv(subject.turn), head.fibres[tuple(nearest)] / 127.0, axes=(1, 3))
    return directions / jnp.maximum(jnp.linalg.norm(directions, axis=0), 1e-6)


def _template_coordinates(subject: Subject, axes: tuple[Array, ...]) -> list[Array]:
    moved = displacement_at(subject.displacement, axes)  # type: ignore[arg-type]
    places = [axes[i].reshape([-1 if i == axis else 1 for axis in range(3)]) for i in range(3)]
    here = [places[i] + moved[i] - CENTRE[i] for i in range(3)]
    there = [
        sum(subject.turn[i, j] * here[j] for j in range(3)) + subject.shift[i] + CENTRE[i] for i in range(3)
    ]
    away = [there[i] - VENTRICLES[i] for i in range(3)]
    distance = sum(a**2 for a in away) / VENTRICLES_REACH**2
    closer = WIDENING * subject.atrophy * jnp.exp(-distance / 2)
    return [position - closer * a for position, a in zip(there, away, strict=True)]


def _cell(x: Array, y: Array, z: Array) -> tuple[Array, list[Array]]:
    """Flat index of the cell about each position, and the trilinear weights of its corners."""
    index, rest = [], []
    for axis, position in enumerate((x, y, z)):
        place = jnp.clip(position - TEMPLATE_ORIGIN[axis], 0, TEMPLATE_SHAPE[axis] - 1.001)
        low = jnp.floor(place)
        index.append(low.astype(jnp.int32))
        rest.append(place - low)
    flat = (index[0] * TEMPLATE_SHAPE[1] + index[1]) * TEMPLATE_SHAPE[2] + index[2]
    sides = [(1 - r, r) for r in rest]
    return flat, [sides[0][i] * sides[1][j] * sides[2][k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]


def _tissue_values(key: PRNGKeyArray, age: Array, field_strength: Array, contrast: Array) -> dict[str, Array]:
    """χ by age and chance; relaxation by field strength, iron and chance."""
    key_chi, key_density, key_t1, key_r2star, key_texture = jax.random.split(key, 5)
    tissues = [TISSUES[t] for t in ANATOMY]
    count = len(tissues)

    def column(name: str) -> Array:
        return jnp.array([getattr(t, name) for t in tissues])

    def at_field(name: str) -> Array:
        low, high = column(name).T
        return jnp.maximum(low + (high - low) * (field_strength - 3.0) / 4.0, low / 2)

    def vary(k: PRNGKeyArray, standard_deviation: float) -> Array:
        return jnp.exp(standard_deviation * jax.random.normal(k, (count,)))

    rate = column("ageing")
    grown = jnp.where(rate > 0, (1 - jnp.exp(-rate * age)) / (1 - jnp.exp(-rate * REFERENCE_AGE)), 1.0)
    inside = jnp.asarray(intracranial())
    chi = column("chi") * grown + column("spread") * jax.random.normal(key_chi, (count,))
    saturation = jax.random.uniform(jax.random.fold_in(key_chi, 1), minval=0.55, maxval=0.8)
    chi = chi.at[VEIN].set(BLOOD_CHI * (1 - saturation))
    chi = chi * jnp.where(inside > 0, contrast, 1.0)
    r2star = at_field("r2star") * vary(key_r2star, 0.1) * (0.4 + 0.6 * grown)
    density = jnp.clip(column("proton_density") * vary(key_density, 0.05), 0, 1.1)
    scale = jnp.exp(0.3 * jax.random.normal(key_texture, ()))
    return {
        "chi": chi,
        "proton_density": density,
        "t1": at_field("t1") * vary(key_t1, 0.05),
        "r2star": r2star,
        "texture": column("texture") * scale * jnp.where(inside > 0, contrast, 1.0),
    }


def _rotation(angles: Array) -> Array:
    """Rotation by small angles (rad) about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = jnp.cos(angles), jnp.sin(angles)
    about_x = jnp.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = jnp.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = jnp.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
