"""The head's anatomy as arrays that a point in space can be looked up in, at the cost of three gathers."""

from __future__ import annotations

import functools
from importlib import resources
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8, Shaped, UInt8, UInt16, UInt32
from scipy import ndimage

from jaxqsm.phantoms.tissues import INTRACRANIAL, Tissue

TEMPLATE_ORIGIN = np.array([-90.0, -125.0, -71.0])
"""Position in mm of the centre of the template's first voxel; its voxels are 1 mm."""

TEMPLATE_SHAPE = (181, 217, 181)

CENTRE = np.array([0.0, -17.0, 19.0])
"""Middle of the template in mm, about which heads are turned, scaled and deformed."""

ANATOMY = tuple(t for t in Tissue if t not in (Tissue.CALCIFICATION, Tissue.HAEMORRHAGE))
"""Tissues of a healthy head, in the order of all per-tissue arrays; 14, so that a label takes 4 bits."""

AIR = ANATOMY.index(Tissue.AIR)

COARSE_STEP = 4
"""Edge length in mm of the cells of :attr:`Template.fractions` and :attr:`Template.fibres`."""

PLACES = 4096
"""Number of points that stand for the brain where lesions and vessels are placed."""

STRUCTURED_ARRAYS = ("labels", "t1", "tracts", "depth", "fibres")


class Template(NamedTuple):
    """Anatomy packed for sampling. Cells are the cubes between eight neighbouring 1 mm voxels.

    Attributes:
        labels: 4-bit codes into :data:`ANATOMY` of a cell's eight corners, corner ``(i, j, k)`` at bit
            ``4 (4 i + 2 j + k)``; flat over the template's voxels.
        intensity: T1-weighted intensity of the corners with ``i = 0`` and ``i = 1``, 8 bits each.
        detail: tract (low 6 bits) and cortical depth (next 4) of a voxel.
        fractions: part of each 4 mm cell that each tissue fills.
        fibres: fibre direction, unit vector times 127, of each 4 mm cell.
        places: positions in mm spread over the brain.
        intensity_mean: mean T1-weighted intensity of each tissue.
        intensity_deviation: its standard deviation.
    """

    labels: UInt32[Array, voxel]
    intensity: UInt32[Array, "2 voxel"]
    detail: UInt16[Array, voxel]
    fractions: Float[Array, "x y z tissue"]
    fibres: Int8[Array, "x y z 3"]
    places: Float[Array, "place 3"]
    intensity_mean: Float[Array, tissue]
    intensity_deviation: Float[Array, tissue]


@functools.cache
def packaged_head() -> dict[str, Shaped[np.ndarray, ...]]:
    """Load the arrays derived once from the public templates: ``labels``, ``t1`` (6 bit), ``tracts``,
    ``depth`` and ``brain`` on the 1 mm grid, ``fibres`` on 4 mm."""
    packaged = resources.files("jaxqsm.phantoms") / "data" / "head.npz"
    with resources.as_file(packaged) as path, np.load(path) as data:
        arrays: dict[str, np.ndarray] = {name: data[name] for name in STRUCTURED_ARRAYS}
        brain = np.unpackbits(data["brain"], count=arrays["labels"].size)
    arrays["brain"] = brain.reshape(arrays["labels"].shape).astype(bool)
    return arrays


@functools.cache
def template() -> Template:
    """Pack the packaged head; seconds at the first call. Its two lesions become white matter."""
    head = packaged_head()
    healthy = np.where(np.isin(head["labels"], ANATOMY), head["labels"], Tissue.WHITE_MATTER)
    code = np.zeros(max(ANATOMY) + 1, np.uint8)
    code[list(ANATOMY)] = np.arange(len(ANATOMY))
    codes = code[healthy]
    _surround_with_air(codes)
    members = [codes == t for t in range(len(ANATOMY))]
    fractions = np.stack([_cell_means(m) for m in members], axis=-1)
    _surround_with_air(fractions, value=np.eye(len(ANATOMY))[AIR])
    t1 = head["t1"].astype(np.float32)
    brain = np.argwhere(head["brain"])
    chosen = np.random.default_rng(0).choice(len(brain), PLACES, replace=False)
    return Template(
        labels=jnp.asarray(_pack(codes, bits=4, corners=_CORNERS)),
        intensity=jnp.asarray(
            np.stack([_pack(head["t1"], bits=8, corners=_CORNERS[4 * i : 4 * i + 4]) for i in (0, 1)])
        ),
        detail=jnp.asarray((head["tracts"] | head["depth"].astype(np.uint16) << 6).ravel()),
        fractions=jnp.asarray(fractions),
        fibres=jnp.asarray(head["fibres"]),
        places=jnp.asarray(brain[chosen] + TEMPLATE_ORIGIN, jnp.float32),
        intensity_mean=jnp.asarray([t1[m].mean() for m in members]),
        intensity_deviation=jnp.asarray([max(t1[m].std(), 1.0) for m in members]),
    )


def intracranial() -> Float[np.ndarray, tissue]:
    """Mark tissues within the skull by 1, others by 0."""
    return np.array([t in INTRACRANIAL for t in ANATOMY], np.float32)


def _surround_with_air(volume: np.ndarray, *, value: object = AIR) -> None:
    """Make all faces but the lowest air: what lies beyond the template repeats its faces."""
    for axis, side in ((0, 0), (0, -1), (1, 0), (1, -1), (2, -1)):
        np.moveaxis(volume, axis, 0)[side] = value


_CORNERS = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]


def _pack(
    values: UInt8[np.ndarray, "x y z"], *, bits: int, corners: list[tuple[int, int, int]]
) -> UInt32[np.ndarray, voxel]:
    """Values at the given corners of every cell side by side in one word; the last voxels repeat."""
    wide = np.pad(values, (0, 1), mode="edge").astype(np.uint32)
    x, y, z = values.shape
    word = np.zeros(values.shape, np.uint32)
    for place, (i, j, k) in enumerate(corners):
        word |= wide[i : i + x, j : j + y, k : k + z] << np.uint32(bits * place)
    return word.ravel()


def _cell_means(member: np.ndarray) -> Float[np.ndarray, "x y z"]:
    """Means over 4 mm cells, centred on every fourth voxel."""
    mean = ndimage.uniform_filter(member.astype(np.float32), COARSE_STEP + 1, mode="nearest")
    return mean[::COARSE_STEP, ::COARSE_STEP, ::COARSE_STEP]
