"""Random persons: anatomy that stays whole, values in their ranges, one person at any resolution."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import relative_error

from jaxqsm import Acquisition, Geometry
from jaxqsm.phantoms import TISSUES, Tissue, random_head
from jaxqsm.phantoms.bodies import Bodies, paint
from jaxqsm.phantoms.deformation import CONTROL_SHAPE, CONTROL_SPACING, displacement_at, random_deformation
from jaxqsm.phantoms.pathology import random_lesions, random_outside_sources
from jaxqsm.phantoms.subject import random_subject, sample
from jaxqsm.phantoms.template import ANATOMY, CENTRE, TEMPLATE_ORIGIN, packaged_head, template
from jaxqsm.phantoms.vessels import SEGMENT_REACH, random_vein_tree
from jaxqsm.simulation import simulate_scan

SIZE = (3.0, 3.0, 3.0)


@pytest.fixture(scope="module")
def person():
    return random_head(SIZE, pathology=0.0, key=jax.random.key(1))


def _identity(subject):
    """The subject with the template's own shape and none of its changes."""
    return subject._replace(
        turn=jnp.eye(3), shift=jnp.zeros(3), displacement=jnp.zeros((3, *CONTROL_SHAPE)),
        texture=jnp.zeros(len(ANATOMY)), tract_chi=jnp.zeros(49), laminar=jnp.zeros(2),
        lesions=subject.lesions._replace(strength=jnp.zeros_like(subject.lesions.strength)),
        vessels=subject.vessels._replace(strength=jnp.zeros_like(subject.vessels.strength)),
    )  # fmt: skip


@pytest.mark.slow
def test_packed_template_holds_every_label():
    """Sampled at the template's own voxels, an unchanged person has the template's labels."""
    anatomy = template()
    subject = _identity(random_subject(anatomy, key=jax.random.key(0)))
    first = jnp.array([-30.0, -60.0, -20.0])
    tissue = sample(subject, anatomy, (61, 90, 50), first, jnp.ones(3), finest=(1.0, 1.0, 1.0))
    low = np.asarray(first) - TEMPLATE_ORIGIN
    part = tuple(slice(int(a), int(a) + n) for a, n in zip(low, (61, 90, 50), strict=True))
    expected = packaged_head()["labels"][part]
    found = np.array(ANATOMY)[np.asarray(tissue.code)]
    healthy = np.isin(expected, ANATOMY)
    np.testing.assert_array_equal(found[healthy], expected[healthy])
    chi = np.asarray(subject.chi)[np.asarray(tissue.code)]
    np.testing.assert_allclose(tissue.chi, chi, atol=1e-5)
    r2star = np.asarray(subject.r2star)[np.asarray(tissue.code)]
    white = np.asarray(tissue.code) == ANATOMY.index(Tissue.WHITE_MATTER)
    assert relative_error(np.asarray(tissue.r2star), r2star, white) < 0.05  # texture of a few percent


def test_deformation_is_invertible_and_smooth():
    for seed in range(3):
        flow = random_deformation(displacement=4.0, key=jax.random.key(seed))
        gradient = [[np.gradient(np.asarray(f), CONTROL_SPACING, axis=i) for i in range(3)] for f in flow]
        jacobian = np.moveaxis(np.array(gradient), (0, 1), (-2, -1)) + np.eye(3)
        determinant = np.linalg.det(jacobian)
        assert determinant.min() > 0.2
        assert determinant.max() < 3
        assert 1.5 < np.asarray(flow).std() < 8


def test_spline_of_a_linear_displacement_is_that_displacement():
    first = CENTRE[0] - CONTROL_SPACING * (CONTROL_SHAPE[0] - 1) / 2
    ramp = first + CONTROL_SPACING * np.arange(CONTROL_SHAPE[0])
    control = jnp.zeros((3, *CONTROL_SHAPE)).at[0].set(0.1 * ramp[:, None, None])
    axes = tuple(jnp.asarray(CENTRE[i] + np.array([-20.0, -1.5, 0.0, 33.3])) for i in range(3))
    moved = displacement_at(control, axes)
    np.testing.assert_allclose(moved[0], np.broadcast_to(0.1 * axes[0][:, None, None], (4, 4, 4)), atol=1e-4)
    assert not moved[1:].any()


@pytest.mark.slow
def test_person_differs_from_others_and_is_the_same_at_any_voxel_size(person):
    again = random_head(SIZE, pathology=0.0, key=jax.random.key(1))
    np.testing.assert_array_equal(person.chi, again.chi)
    finer = random_head((2.0, 2.0, 2.0), pathology=0.0, key=jax.random.key(1))
    assert finer.mask.sum() * 8 == pytest.approx(person.mask.sum() * 27, rel=0.1)
    other = random_head(SIZE, pathology=0.0, key=jax.random.key(2))
    assert other.chi.shape != person.chi.shape or relative_error(other.chi, person.chi) > 0.05


def test_texture_scales_the_variation_within_tissues_alone(person):
    even, rough = (random_head(SIZE, pathology=0.0, texture=t, key=jax.random.key(1)) for t in (0.0, 2.0))
    once, twice = (np.asarray(p.chi) - np.asarray(even.chi) for p in (person, rough))
    np.testing.assert_allclose(twice, 2 * once, atol=1e-5)
    white = (person.labels == Tissue.WHITE_MATTER) & person.mask
    assert 0.002 < once[white].std() < 0.02
    np.testing.assert_array_equal(person.r2star, rough.r2star)


@pytest.mark.slow
def test_values_lie_in_published_ranges():
    anatomy = template()
    draw = jax.jit(jax.vmap(lambda k, age: random_subject(anatomy, age=age, key=k), in_axes=(0, None)))
    keys = jax.random.split(jax.random.key(0), 200)
    young, old = draw(keys, 8.0), draw(keys, 70.0)
    for tissue in (Tissue.PALLIDUM, Tissue.PUTAMEN, Tissue.CAUDATE, Tissue.DENTATE):
        index = ANATOMY.index(tissue)
        means = [float(s.chi[:, index].mean()) for s in (young, old)]
        assert means[0] < 0.8 * means[1], tissue  # iron accumulates
        assert means[1] == pytest.approx(TISSUES[tissue].chi, rel=0.35)
        assert float(old.chi[:, index].std()) == pytest.approx(TISSUES[tissue].spread, rel=0.25)
        assert float(young.r2star[:, index].mean()) < float(old.r2star[:, index].mean())
    white = ANATOMY.index(Tissue.WHITE_MATTER)
    assert float(old.chi[:, white].mean()) < float(young.chi[:, white].mean()) < 0  # myelin
    vein = np.asarray(old.chi[:, ANATOMY.index(Tissue.VEIN)])
    assert vein.min() > 0.2
    assert vein.max() < 0.7
    assert set(np.sign(np.linalg.det(np.asarray(old.turn)))) == {-1, 1}  # mirrored or not


def test_lesions_and_metal_keep_to_their_strengths():
    places = jnp.zeros((8, 3))
    keys = jax.random.split(jax.random.key(0), 300)
    lesions = jax.vmap(lambda k: random_lesions(places, probability=0.5, key=k))(keys)
    chi, there = np.asarray(lesions.values[..., 0]), np.asarray(lesions.strength) > 0
    assert np.abs(chi).max() <= 1.5
    assert chi.min() < -1.4
    assert chi.max() > 1.4
    assert there.mean() == pytest.approx(0.5, abs=0.05)
    assert np.asarray(lesions.radii).max() * 2 * 1.4 < 70
    outside = jax.vmap(lambda k: random_outside_sources(key=k))(keys)
    strong = np.abs(np.asarray(outside.values[..., 0]))
    assert strong.max() <= 4
    assert strong.max() > 3.5
    assert not random_lesions(places, probability=0.0, key=keys[0]).strength.any()


def test_vein_trees_branch_and_thin():
    tree = random_vein_tree(jnp.array([1.0, 2.0, 3.0]), oxygenation=0.65, key=jax.random.key(0))
    assert tree.start.shape == (45, 3)
    np.testing.assert_allclose(tree.start[0], [1, 2, 3])
    starts, ends = np.asarray(tree.start), np.asarray(tree.end)
    for start in starts[1:]:  # every capsule begins where another ends
        assert np.abs(ends - start).sum(axis=1).min() < 1e-4
    radii = np.asarray(tree.radii[:, 0])
    np.testing.assert_allclose(radii[0] ** 3, 8 * radii[-1] ** 3, rtol=1e-4)  # Murray's law, three times
    np.testing.assert_allclose(tree.values[:, 0], 3.39 * 0.42 * 0.35, rtol=1e-5)
    assert (np.abs(ends - starts).max(axis=1) + 2 * radii).max() < SEGMENT_REACH


@pytest.mark.parametrize("voxel", [(1.0, 1.0, 1.0), (0.5, 1.0, 2.0)])
def test_painted_body_has_its_volume_and_place(voxel):
    size = jnp.array(voxel)
    shape = tuple(int(40 / v) for v in voxel)
    origin = jnp.array([-20.0, -10.0, 5.0])
    body = Bodies(
        start=jnp.array([[2.0, 11.0, 22.0]]), end=jnp.array([[2.0, 11.0, 22.0]]),
        radii=jnp.full((1, 3), 8.0), lumpiness=jnp.zeros(1), values=jnp.array([[1.5, 0.7, 1.2, 90.0]]),
        within=jnp.zeros(1), strength=jnp.ones(1),
    )  # fmt: skip
    maps = jnp.zeros((5, *shape))
    painted = paint(maps, body, origin, size, box=[int(20 / v) for v in voxel])
    volume = float(painted[0].sum() / 1.5 * np.prod(voxel))
    assert volume == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.04)
    weights = np.asarray(painted[0]) / float(painted[0].sum())
    for axis in range(3):
        along = np.asarray(origin[axis]) + voxel[axis] * np.arange(shape[axis])
        others = tuple(i for i in range(3) if i != axis)
        assert (weights.sum(axis=others) * along).sum() == pytest.approx([2.0, 11.0, 22.0][axis], abs=0.15)
    np.testing.assert_allclose(painted[3] * 1.5, painted[0] * 90.0, rtol=1e-5)
    assert not painted[4].any()


def test_body_keeps_to_its_side_of_the_skull():
    maps = jnp.zeros((5, 16, 16, 16)).at[4, 8:].set(1.0)
    body = Bodies(
        start=jnp.full((1, 3), 7.5), end=jnp.full((1, 3), 7.5), radii=jnp.full((1, 3), 5.0),
        lumpiness=jnp.zeros(1), values=jnp.ones((1, 4)), within=jnp.ones(1), strength=jnp.ones(1),
    )  # fmt: skip
    within = paint(maps, body, jnp.zeros(3), jnp.ones(3), box=(16, 16, 16))[0]
    outside = paint(maps, body._replace(within=-jnp.ones(1)), jnp.zeros(3), jnp.ones(3), box=(16, 16, 16))[0]
    assert not within[:8].any()
    assert not outside[8:].any()
    np.testing.assert_allclose(within[8:].sum(), outside[:8].sum(), rtol=1e-5)


@pytest.mark.slow
def test_white_matter_anisotropy_changes_the_field_with_the_head_s_direction():
    """The field of isotropic χ + Δχ v vᵀ: none added where the mean is zero, some where fibres cross b."""
    fibrous = random_head(SIZE, pathology=0.0, anisotropy=-0.02, key=jax.random.key(1))
    plain = dataclasses.replace(fibrous, fibres=None, anisotropy=None)
    lengths = np.linalg.norm(np.asarray(fibrous.fibres), axis=0)
    np.testing.assert_allclose(lengths[fibrous.labels == Tissue.WHITE_MATTER], 1, atol=1e-4)
    acquisition = Acquisition((0.004,), 3.0)
    fields = []
    for b0_dir in ((0, 0, 1), (1, 0, 0)):
        geometry = Geometry(SIZE, b0_dir)
        with_fibres, without = (
            simulate_scan(p, geometry, acquisition, snr=np.inf, key=jax.random.key(0))
            for p in (fibrous, plain)
        )
        inside = with_fibres.mask
        fields.append(np.asarray(with_fibres.local_field - without.local_field)[inside])
    assert 0.0005 < fields[0].std() < 0.01
    assert np.corrcoef(*fields)[0, 1] < 0.5


def test_voxel_size_must_be_positive():
    with pytest.raises(ValueError, match="voxel_size"):
        random_head((1.0, 0.0, 1.0), key=jax.random.key(0))


@pytest.fixture(scope="module")
def block():
    """Tissues of one person in a block of brain, by the options of the draw."""
    anatomy = template()
    first, key = jnp.array([-30.0, -60.0, 10.0]), jax.random.key(3)

    def drawn(*, vessels=0.0, **options):
        subject = random_subject(anatomy, pathology=0.0, key=key, **options)
        strength = vessels * subject.vessels.strength
        subject = subject._replace(vessels=subject.vessels._replace(strength=strength))
        return sample(subject, anatomy, (60, 60, 50), first, jnp.ones(3), finest=(1.0, 1.0, 1.0))

    return drawn


@pytest.mark.slow
def test_random_sulci_fold_fluid_and_cortex_into_white_matter(block):
    plain, folded = block(), block(sulci=1.0)
    np.testing.assert_allclose(folded.skull, plain.skull, atol=1e-5)
    tissues = (Tissue.WHITE_MATTER, Tissue.CSF, Tissue.GREY_MATTER)
    white, fluid, grey = (ANATOMY.index(t) for t in tissues)
    before, after = np.asarray(plain.code), np.asarray(folded.code)
    changed = before != after
    assert 0.03 < changed.mean() < 0.4
    assert np.isin(before[changed], (white, grey)).mean() > 0.98  # the rest are mixed voxels
    assert np.isin(after[changed], (fluid, grey)).mean() > 0.98
    sheet = (after == fluid) & changed
    assert sheet.sum() > 500
    beside = np.roll(sheet, 1, 0) & (after == white)  # cortex lines the fluid
    assert beside.sum() < 0.05 * sheet.sum()


@pytest.mark.slow
def test_atrophy_widens_ventricles_and_thins_cortex(block):
    plain, shrunken = block(), block(atrophy=1.0)
    white, fluid, grey = (ANATOMY.index(t) for t in (Tissue.WHITE_MATTER, Tissue.CSF, Tissue.GREY_MATTER))
    before, after = np.asarray(plain.code), np.asarray(shrunken.code)
    inner = np.s_[15:45, 25:, :20]
    assert 1.4 < (after[inner] == fluid).sum() / (before[inner] == fluid).sum() < 4
    assert 0.7 < (after == grey).sum() / (before == grey).sum() < 0.9
    assert (after == white).sum() > 0.75 * (before == white).sum()
    np.testing.assert_allclose(block(atrophy=0.0).chi, plain.chi)


@pytest.mark.slow
@pytest.mark.parametrize("likeness", [1.0, 0.0, -1.0])
def test_texture_of_relaxation_is_as_like_that_of_chi_as_asked(block, likeness):
    even, rough = block(texture=0.0, likeness=likeness), block(likeness=likeness)
    white = np.asarray(rough.white) > 0.999
    texture = (np.asarray(rough.chi) - np.asarray(even.chi))[white]
    assert abs(np.corrcoef(texture, np.asarray(rough.r2star)[white])[0, 1] - likeness) < 0.15


@pytest.mark.slow
def test_vessels_are_parts_of_voxels_and_take_white_matter_away(block):
    without, tissue = block(), block(vessels=1.0)
    kept = (1 - tissue.vein) / np.maximum(1 - without.vein, 1e-6)
    assert np.min(kept) < 0.1
    there = np.asarray(without.vein) < 0.5
    np.testing.assert_allclose(
        np.asarray(tissue.white)[there], np.asarray(kept * without.white)[there], atol=1e-4
    )
