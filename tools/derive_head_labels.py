"""Derive the head phantom's tissue labels from the public templates, once.

    python -m tools.derive_head_labels TEMPLATE_DIR OUT.npz

``TEMPLATE_DIR`` holds the images of Debian's package ``mricron-data``: ``ch2.nii.gz`` (T1-weighted
head of one adult), ``ch2bet.nii.gz`` (its brain), ``aal.nii.gz`` and ``jhu189.nii.gz`` (regions),
``JHU-WhiteMatter-labels-1mm.nii.gz`` (tracts).
Tissue borders come from the T1 image, deep nuclei from the atlases; what neither shows (cerebral
veins, dentate nuclei, ear canals, the two lesions) is drawn at its anatomical place. Fibre directions
are the local long axes of the tracts, spread into the white matter around them. Coordinates are
millimetres in the templates' space (x to the right, y to the front, z up).
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage
from skimage import graph, morphology

from jaxqsm.phantoms.tissues import INTRACRANIAL, Tissue

ORIGIN = np.array([90.0, 125.0, 71.0])  # voxel of millimetre (0, 0, 0); the grid is 1 mm

# T1 intensities of the template that separate the classes (valleys of its histogram).
HEAD_ABOVE = 22
CSF_BELOW = 62
WHITE_ABOVE = 98

FIBRE_STEP = 4
"""Voxels between the samples of the fibre directions, which vary slowly."""


def main(template_dir: str, out: str) -> None:
    folder = Path(template_dir)
    read = nibabel.Nifti1Image.from_filename
    t1 = read(folder / "ch2.nii.gz").get_fdata(dtype=np.float32)
    brain = read(folder / "ch2bet.nii.gz").get_fdata(dtype=np.float32) > 0
    aal = np.asarray(read(folder / "aal.nii.gz").dataobj)
    jhu = _onto_grid(read(folder / "jhu189.nii.gz"), t1.shape)
    tracts = _onto_grid(read(folder / "JHU-WhiteMatter-labels-1mm.nii.gz"), t1.shape)

    labels = np.full(t1.shape, Tissue.AIR, np.uint8)
    head = _head(t1)
    intracranial = _intracranial(brain)
    _label_outside_brain(labels, t1, head, intracranial)
    _label_brain(labels, t1, intracranial, aal)
    _label_nuclei(labels, t1, aal, jhu)
    _label_veins(labels, t1, intracranial)
    _label_lesions(labels)
    np.savez_compressed(
        out,
        labels=labels,
        # Texture needs little depth: 64 grey levels inside the head.
        t1=np.where(head, np.clip(t1 / 4, 0, 63), 0).astype(np.uint8),
        brain=np.packbits(_brain_mask(labels, intracranial)),
        tracts=np.where(labels == Tissue.WHITE_MATTER, tracts, 0).astype(np.uint8),
        depth=_cortical_depth(labels),
        fibres=_fibre_directions(tracts),
    )


def _onto_grid(image: nibabel.Nifti1Image, shape: tuple[int, ...]) -> np.ndarray:
    """Nearest-neighbour copy of an atlas on the 1 mm template grid."""
    to_atlas = np.linalg.inv(image.affine) @ np.block(
        [[np.eye(3), -ORIGIN[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]]
    )
    return ndimage.affine_transform(
        np.asarray(image.dataobj), to_atlas[:3, :3], to_atlas[:3, 3], output_shape=shape, order=0
    )


def _millimetres(shape: tuple[int, ...]) -> list[np.ndarray]:
    return [
        (np.arange(n) - origin).reshape([-1 if i == axis else 1 for i in range(3)])
        for axis, (n, origin) in enumerate(zip(shape, ORIGIN, strict=True))
    ]


def _ellipsoid(shape: tuple[int, ...], centre: tuple, radii: tuple) -> np.ndarray:
    axes = _millimetres(shape)
    return sum(((a - c) / r) ** 2 for a, c, r in zip(axes, centre, radii, strict=True)) <= 1


def _box(shape: tuple[int, ...], x: tuple, y: tuple, z: tuple) -> np.ndarray:
    within = [(a >= low) & (a <= high) for a, (low, high) in zip(_millimetres(shape), (x, y, z), strict=True)]
    return within[0] & within[1] & within[2]


def _largest(mask: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def _ball(mask: np.ndarray, radius: float, *, grow: bool) -> np.ndarray:
    """Dilate or erode by a ball of ``radius`` mm."""
    if grow:
        return ndimage.distance_transform_edt(~mask) <= radius
    return ndimage.distance_transform_edt(mask) > radius


def _close(mask: np.ndarray, radius: float) -> np.ndarray:
    padded = np.pad(mask, int(radius) + 2)
    closed = _ball(_ball(padded, radius, grow=True), radius, grow=False)
    inner = (slice(int(radius) + 2, -int(radius) - 2),) * 3
    return closed[inner] | mask


def _head(t1: np.ndarray) -> np.ndarray:
    """Everything within the skin, air cavities included: slice-wise filled."""
    head = _largest(_close(ndimage.gaussian_filter(t1, 0.7) > HEAD_ABOVE, 3))
    for z in range(head.shape[2]):
        head[:, :, z] = ndimage.binary_fill_holes(head[:, :, z])
    return head


def _intracranial(brain: np.ndarray) -> np.ndarray:
    """Brain with its sulci and a rim of cerebrospinal fluid."""
    closed = ndimage.binary_fill_holes(_close(brain, 9))
    return _ball(closed, 1.0, grow=True)


def _label_outside_brain(labels, t1, head, intracranial) -> None:
    shape = t1.shape
    outside = head & ~intracranial
    labels[outside] = Tissue.MUSCLE
    smooth = ndimage.gaussian_filter(t1, 0.5)
    dark = outside & (smooth < 34)
    to_brain = ndimage.distance_transform_edt(~intracranial)
    skull = outside & (to_brain <= 14) & dark
    # The marrow between the tables is bright; a closing of the dark shell makes it bone again.
    skull = _close(skull, 2.5) & outside & (to_brain <= 14)
    labels[skull] = Tissue.BONE
    # The rest of the dark voxels: large pockets are air, the thin rest cortical bone.
    rest = dark & ~skull
    pockets = _ball(_ball(rest, 1.6, grow=False), 2.2, grow=True) & rest
    labels[rest & ~pockets] = Tissue.BONE
    labels[pockets] = Tissue.AIR
    # Air that touches the skull base is within the shell: named by place, bounded by darkness.
    very_dark = outside & (smooth < 28)
    for sides in (
        ((-16, 16), (2, 30), (-44, -18)),  # sphenoid sinus
        ((-14, 14), (28, 66), (-46, -12)),  # ethmoid cells and upper nasal cavity
        ((-22, 22), (58, 84), (-18, 12)),  # frontal sinus
        ((-44, -16), (24, 60), (-71, -38)),  # maxillary sinuses
        ((16, 44), (24, 60), (-71, -38)),
        ((-68, -38), (-52, -12), (-52, -26)),  # middle ear and mastoid cells
        ((38, 68), (-52, -12), (-52, -26)),
    ):
        cavity = _box(shape, *sides) & very_dark
        cavity = morphology.remove_small_objects(cavity, max_size=30)
        # A millimetre of bone stays between air and brain.
        labels[cavity & (to_brain > 1.5)] = Tissue.AIR
    # External ear canals: 7 mm wide, from the middle ear to the skin.
    x, y, z = _millimetres(shape)
    canal = ((y + 24) ** 2 + (z + 35) ** 2 <= 3.5**2) & (np.abs(x) >= 48)
    labels[canal & outside] = Tissue.AIR


def _label_brain(labels, t1, intracranial, aal) -> None:
    labels[intracranial] = Tissue.CSF
    smooth = ndimage.gaussian_filter(t1, 0.4)
    labels[intracranial & (smooth >= CSF_BELOW)] = Tissue.GREY_MATTER
    white = intracranial & (smooth >= WHITE_ABOVE)
    labels[morphology.remove_small_objects(white, max_size=20)] = Tissue.WHITE_MATTER
    # Brainstem and the deep white matter hold no cortex; their T1 only dips.
    x, y, z = _millimetres(t1.shape)
    stem = intracranial & (np.abs(x) < 18) & (y > -44) & (y < -8) & (z < -16) & (aal == 0)
    labels[stem & (labels == Tissue.GREY_MATTER)] = Tissue.WHITE_MATTER


def _label_nuclei(labels, t1, aal, jhu) -> None:
    shape = labels.shape
    tissue = t1 >= CSF_BELOW
    for tissue_label, regions in (
        (Tissue.CAUDATE, (71, 72)),
        (Tissue.PUTAMEN, (73, 74)),
        (Tissue.PALLIDUM, (75, 76)),
        (Tissue.THALAMUS, (77, 78)),
    ):
        region = _smooth_region(np.isin(aal, regions))
        labels[region & tissue] = tissue_label
    # jhu189: 91-92 red nucleus, 93-94 substantia nigra, 97-98 cerebral peduncle, 99-100 midbrain.
    # Its substantia nigra is only the core: the pars between peduncle and midbrain is added.
    midbrain, peduncle = np.isin(jhu, (99, 100)), np.isin(jhu, (97, 98))
    z = _millimetres(shape)[2]
    border = _ball(peduncle, 2.0, grow=True) & midbrain & (z >= -17) & (z <= -6)
    nigra = _smooth_region(np.isin(jhu, (93, 94)) | border)
    labels[nigra & tissue] = Tissue.SUBSTANTIA_NIGRA
    labels[_smooth_region(np.isin(jhu, (91, 92))) & tissue] = Tissue.RED_NUCLEUS
    # The dentate: a folded sheet in the cerebellar white matter, open towards the middle.
    x, y, z = _millimetres(shape)
    for side in (-1, 1):
        outer = _ellipsoid(shape, (side * 15, -57, -34), (8.5, 9.5, 6.5))
        hollow = _ellipsoid(shape, (side * 13, -57, -35), (7.0, 7.5, 4.0))
        folds = 0.5 * np.sin(1.4 * (x + 0.3 * z)) * np.cos(1.2 * y) > -0.28
        labels[outer & ~hollow & folds & tissue] = Tissue.DENTATE


def _smooth_region(region: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(region.astype(np.float32), 0.8) > 0.5


def _label_veins(labels, t1, intracranial) -> None:
    """Dural sinuses and large veins as tubes along least-cost paths that prefer fluid."""
    shape = labels.shape
    depth = ndimage.distance_transform_edt(intracranial)
    # Cheap in sulci and along the hull, dear in tissue: veins follow the sulci.
    cost = np.where(labels == Tissue.CSF, 1.0, 6.0) + np.where(intracranial, 0.0, 40.0)
    veins = np.zeros(shape, bool)

    def voxel(point) -> tuple[int, ...]:
        return tuple(np.clip(np.round(np.add(point, ORIGIN)).astype(int), 0, np.array(shape) - 1))

    def tube(path: np.ndarray, radius: float) -> None:
        line = np.ones(shape, bool)
        line[tuple(np.asarray(path).T)] = False
        low = np.maximum(np.min(path, axis=0) - 6, 0)
        high = np.max(path, axis=0) + 7
        part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        veins[part] |= ndimage.distance_transform_edt(line[part]) <= radius

    def connect(points: list, radius: float) -> None:
        for start, end in itertools.pairwise(points):
            path, _ = graph.route_through_array(cost, voxel(start), voxel(end))
            tube(np.array(path), radius)

    # Superior sagittal sinus: the crest of the intracranial space on the midline.
    midline = int(ORIGIN[0])
    points = []
    for y in range(int(ORIGIN[1]) - 96, int(ORIGIN[1]) + 62):
        column = np.flatnonzero(intracranial[midline, y])
        if column.size:
            points.append((midline, y, column[-1] - 2))
    crest = np.array(points)
    tube(crest, 3.0)
    torcula = (0, -93, -2)
    connect([crest[0] - ORIGIN, torcula], 3.0)
    # Vein of Galen, straight sinus, internal cerebral and basal veins, transverse sinuses.
    connect([(0, -38, 2), (0, -56, 12), (0, -75, 6), torcula], 2.0)
    for side in (-1, 1):
        connect([(side * 3, 2, 16), (side * 3, -22, 12), (0, -38, 2)], 1.2)
        connect([(side * 20, -4, -14), (side * 17, -24, -8), (0, -38, 2)], 1.1)
        connect([torcula, (side * 38, -84, -20), (side * 58, -56, -26)], 3.0)
        # Septal and thalamostriate tributaries.
        connect([(side * 18, 8, 22), (side * 3, 2, 16)], 0.8)
        connect([(side * 12, -30, 18), (side * 3, -22, 12)], 0.8)
    # Cortical veins: from seeded places on the hull through the sulci to the sinus.
    random = np.random.default_rng(20260101)
    hull = np.argwhere((depth > 1) & (depth <= 3))
    hull = hull[(hull[:, 2] > ORIGIN[2] + 8) & (np.abs(hull[:, 0] - ORIGIN[0]) > 14)]
    for start in hull[random.choice(len(hull), 44, replace=False)]:
        reachable = crest[np.argsort(np.abs(crest[:, 1] - start[1]))[:30]]
        end = reachable[random.integers(len(reachable))]
        path, _ = graph.route_through_array(cost, tuple(start), tuple(end))
        tube(np.array(path), random.uniform(0.7, 1.5))
    # Medullary veins: straight, from the white matter to the ventricle's corner.
    for side in (-1, 1):
        for y in range(-34, 26, 6):
            corner = np.array([side * 17, y, 24 if y > -20 else 20])
            reach = np.array([side * random.uniform(14, 24), random.uniform(-3, 3), random.uniform(6, 20)])
            line = np.linspace(voxel(corner), voxel(corner + reach), 40).round().astype(int)
            tube(line, 0.6)
    labels[veins & intracranial] = Tissue.VEIN


def _label_lesions(labels) -> None:
    shape = labels.shape
    calcified = _ellipsoid(shape, (-27, -42, 14), (3.2, 4.0, 3.0))
    labels[calcified] = Tissue.CALCIFICATION
    bleed = _ellipsoid(shape, (31, 24, 24), (5.0, 6.0, 4.5))
    labels[bleed] = Tissue.HAEMORRHAGE


def _cortical_depth(labels: np.ndarray) -> np.ndarray:
    """1 at the white matter to 15 at the surface of the cortex, by distances to both; 0 elsewhere."""
    grey = labels == Tissue.GREY_MATTER
    to_white = ndimage.distance_transform_edt(labels != Tissue.WHITE_MATTER)
    to_fluid = ndimage.distance_transform_edt(~np.isin(labels, (Tissue.CSF, Tissue.BONE, Tissue.VEIN)))
    part = to_white / np.maximum(to_white + to_fluid, 1e-6)
    return np.where(grey, 1 + np.round(14 * part), 0).astype(np.uint8)


def _fibre_directions(tracts: np.ndarray) -> np.ndarray:
    """Unit vectors times 127 on every fourth voxel, int8 ``(x, y, z, 3)``; their sign means nothing."""
    shape = tracts.shape
    coarse = tuple(-(-n // FIBRE_STEP) for n in shape)
    tensor = np.zeros((*coarse, 3, 3), np.float32)
    for tract, tight in enumerate(ndimage.find_objects(tracts.astype(np.uint8)), start=1):
        if tight is None:
            continue
        box = tuple(slice(max(b.start - 12, 0), b.stop + 12) for b in tight)
        member = (tracts[box] == tract).astype(np.float32)
        place = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in member.shape], indexing="ij"))
        place -= np.array(member.shape, np.float32)[:, None, None, None] / 2
        count = np.maximum(ndimage.gaussian_filter(member, 5), 1e-6)
        mean = np.stack([ndimage.gaussian_filter(member * x, 5) for x in place]) / count
        spread = np.empty((*member.shape, 3, 3), np.float32)
        for i, j in itertools.product(range(3), repeat=2):
            second = ndimage.gaussian_filter(member * place[i] * place[j], 5) / count
            spread[..., i, j] = second - mean[i] * mean[j]
        inside = np.argwhere(member > 0)
        longest = np.linalg.eigh(spread[tuple(inside.T)])[1][:, :, -1]
        cell = tuple(((inside + [b.start for b in box]) // FIBRE_STEP).T)
        np.add.at(tensor, cell, longest[:, :, None] * longest[:, None, :])
    spread_out = np.empty_like(tensor)
    for i, j in itertools.product(range(3), repeat=2):
        near, far = (ndimage.gaussian_filter(tensor[..., i, j], s) for s in (0.7, 3.0))
        spread_out[..., i, j] = near + 1e-3 * far
    principal = np.linalg.eigh(spread_out)[1][..., -1]
    # One sign, so that the stored numbers do not depend on the eigensolver's choice.
    principal *= np.where(principal[..., 2:] < 0, -1, 1)
    return np.round(127 * principal).astype(np.int8)


def _brain_mask(labels: np.ndarray, intracranial: np.ndarray) -> np.ndarray:
    """Brain as a brain extractor would give it: without the outermost millimetre."""
    return _ball(_largest(intracranial & np.isin(labels, list(INTRACRANIAL))), 1.0, grow=False)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
