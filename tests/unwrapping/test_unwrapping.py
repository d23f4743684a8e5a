import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.csgraph
from helpers import assert_gradient, ball, smooth_blobs
from scipy import ndimage
from skimage.restoration import unwrap_phase

from jaxqsm import Geometry
from jaxqsm.operators.spanning_forest import NONE, along, spanning_forest
from jaxqsm.phantoms import random_head
from jaxqsm.physics import wrap_phase
from jaxqsm.simulation import Protocol
from jaxqsm.unwrapping import align_echoes, best_path, laplacian, romeo
from jaxqsm.unwrapping.parts import Parts
from jaxqsm.unwrapping.region_growing import LEVELS, grow_regions

SHAPE = (32, 28, 24)
GEOMETRY = Geometry((1.0, 1.2, 1.5))


@pytest.fixture(scope="module")
def truth():
    x, y, z = np.indices(SHAPE)
    ramp = 0.7 * (x - 16) - 0.4 * (y - 14) + 0.5 * (z - 12)
    return (ramp + 6 * smooth_blobs(SHAPE)).astype(np.float32)


def test_romeo_gives_exact_multiples_and_the_truth(truth):
    mask = ball(SHAPE, 11)
    wrapped = wrap_phase(jnp.asarray(truth))
    unwrapped = np.asarray(romeo(wrapped, jnp.asarray(mask), GEOMETRY))
    turns = (unwrapped - np.asarray(wrapped))[mask] / (2 * np.pi)
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-5)
    gap = (unwrapped - truth)[mask]
    np.testing.assert_allclose(gap, np.median(gap), atol=1e-4)
    assert (unwrapped[~mask] == 0).all()


def test_romeo_agrees_with_scikit_image_under_noise(truth):
    mask = ball(SHAPE, 11)
    noise = 0.3 * np.random.default_rng(0).standard_normal(SHAPE)
    wrapped = np.array(wrap_phase(jnp.asarray(truth + noise, jnp.float32)))
    ours = np.asarray(romeo(jnp.asarray(wrapped), jnp.asarray(mask), GEOMETRY))
    theirs = unwrap_phase(np.ma.array(wrapped, mask=~mask))
    gap = np.asarray(ours - theirs)[mask]
    turns = np.rint((gap - np.median(gap)) / (2 * np.pi))
    assert (turns != 0).mean() < 0.002


def _costs(noisy, mask, levels):
    """Costs of edges by the size of the phase difference, and the phase."""
    wrapped = wrap_phase(jnp.asarray(noisy, jnp.float32))
    costs = []
    for axis in range(3):
        difference = jnp.abs(wrap_phase(along(wrapped, axis) - wrapped)) / np.pi
        cost = 1 + (difference * (levels - 1)).astype(jnp.int32)
        costs.append(jnp.where(mask & along(mask, axis), cost, NONE))
    return wrapped, jnp.stack(costs)


def test_the_forest_is_the_minimum_spanning_one_of_scipy(truth):
    """All paths of the tree are: the turns along it follow from SciPy's by the same sums."""
    noisy = truth + 0.8 * np.random.default_rng(0).standard_normal(SHAPE)
    mask = ball(SHAPE, 11)
    mask[16:18] = False
    wrapped, costs = _costs(noisy, jnp.asarray(mask), 2**30)
    turns, part = (np.asarray(v).ravel() for v in jax.jit(spanning_forest)(wrapped, costs))
    edges = np.asarray(costs).reshape(3, -1)
    lower = np.concatenate([np.flatnonzero(c < NONE) for c in edges])
    strides = np.repeat([SHAPE[1] * SHAPE[2], SHAPE[2], 1], [(c < NONE).sum() for c in edges])
    weights = np.concatenate([c[c < NONE] for c in edges]).astype(float)
    graph = scipy.sparse.coo_array((weights, (lower, lower + strides)), shape=(mask.size,) * 2)
    tree = scipy.sparse.csgraph.minimum_spanning_tree(graph).tocoo()
    number, parts = scipy.sparse.csgraph.connected_components(tree, directed=False)
    assert len(np.unique(part)) == number
    np.testing.assert_array_equal(part[np.unique(parts, return_index=True)[1]][parts], part)
    phase = np.asarray(wrapped, float).ravel() + 2 * np.pi * turns
    assert np.abs(phase[tree.row] - phase[tree.col]).max() < np.pi + 1e-4


@pytest.mark.parametrize("noise", [0.2, 0.6])
def test_devices_find_the_same_turns(truth, noise):
    """Where noise is a fifth of a radian all are the same; in strong noise some ways are equally sure."""
    mask = jnp.asarray(ball(SHAPE, 11))
    noisy = truth + noise * np.random.default_rng(0).standard_normal(SHAPE)
    wrapped, costs = _costs(noisy, mask, LEVELS)
    host, device = grow_regions(wrapped, costs), jax.jit(spanning_forest)(wrapped, costs)
    inside = np.asarray(mask)
    gap = np.asarray(host.turns - device.turns)[inside]
    assert (gap != np.median(gap)).mean() <= (0 if noise < 0.5 else 0.02)
    for forest in (host, device):
        assert len(np.unique(np.asarray(forest.part)[inside])) == 1


def test_sums_and_medians_of_parts():
    labels, count = ndimage.label(np.random.default_rng(0).random((20, 18, 16)) < 0.35)
    first = np.array([np.flatnonzero(labels.ravel() == n)[0] for n in range(1, count + 1)])
    label = np.where(labels > 0, first[labels - 1], np.arange(labels.size).reshape(labels.shape))
    parts = Parts(jnp.asarray(label.ravel()), jnp.asarray(labels.ravel() > 0))
    values = np.random.default_rng(1).normal(size=labels.shape)
    sums = parts.sum(jnp.asarray(values, jnp.float32))
    numbers = range(1, count + 1)
    np.testing.assert_allclose(sums[first], ndimage.sum(values, labels, numbers), atol=1e-4)
    whole = np.rint(5 * values).astype(int)
    lower = [np.sort(whole[labels == n])[((labels == n).sum() - 1) // 2] for n in numbers]
    np.testing.assert_array_equal(parts.median(jnp.asarray(whole.ravel()))[first], lower)
    assert int(parts.own.sum()) == count


def test_sums_of_parts_are_exact_in_large_volumes():
    """Added one by one, float32 ones stay at 2²⁴."""
    size = 2**24 + 2**22
    parts = Parts(jnp.zeros(size, jnp.int32), jnp.ones(size, bool))
    assert float(parts.sum(jnp.ones(size))[0]) == pytest.approx(size, rel=1e-6)


def test_best_path_agrees_with_scikit_image_under_noise(truth):
    mask = ball(SHAPE, 11)
    wrapped = np.array(
        wrap_phase(jnp.asarray(truth + 0.3 * np.random.default_rng(0).standard_normal(SHAPE), jnp.float32))
    )
    ours = best_path(jnp.asarray(wrapped), jnp.asarray(mask), GEOMETRY)
    theirs = unwrap_phase(np.ma.array(wrapped, mask=~mask))
    gap = (np.asarray(ours) - np.asarray(theirs))[mask]
    turns = np.rint((gap - np.median(gap)) / (2 * np.pi))
    assert (turns != 0).mean() < 0.002


def test_best_path_gives_exact_multiples_and_the_truth(truth):
    mask = ball(SHAPE, 11)
    echoes = jnp.asarray(np.stack([truth, 0.5 * truth], axis=-1))
    wrapped = wrap_phase(echoes)
    unwrapped = best_path(wrapped, jnp.asarray(mask), GEOMETRY)
    turns = np.asarray(unwrapped - wrapped)[mask] / (2 * np.pi)
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-5)
    gap = np.asarray(unwrapped - echoes)[mask]
    np.testing.assert_allclose(gap, np.median(gap, axis=0)[None] * np.ones_like(gap), atol=1e-4)
    assert (np.asarray(unwrapped)[~mask] == 0).all()
    traced = jax.jit(lambda w: best_path(w, jnp.asarray(mask), GEOMETRY))(wrapped)
    np.testing.assert_allclose(traced, unwrapped, atol=1e-5)
    slope = jax.grad(lambda w: jnp.sum(best_path(w, jnp.asarray(mask), GEOMETRY)))(wrapped)
    np.testing.assert_array_equal(slope, np.repeat(mask[..., None], 2, axis=-1))


def test_romeo_follows_echoes_in_time(truth):
    mask = jnp.asarray(ball(SHAPE, 11))
    times = jnp.array([0.004, 0.008, 0.020])
    field = truth / 8 / 0.004
    phase = jnp.asarray(field[..., None] * np.asarray(times), jnp.float32)
    unwrapped = romeo(wrap_phase(phase), mask, GEOMETRY, echo_times=times)
    gap = (unwrapped - phase)[np.asarray(mask)]
    np.testing.assert_allclose(gap, 0, atol=1e-3)
    with pytest.raises(ValueError, match="echo_times"):
        romeo(wrap_phase(phase), mask, GEOMETRY)


def test_romeo_unwraps_each_echo_by_itself_when_asked(truth):
    """A phase that does not grow in proportion to time cannot be followed in time."""
    mask = jnp.asarray(ball(SHAPE, 11))
    later = np.roll(truth, 3, axis=0)
    phase = jnp.asarray(np.stack([0.5 * truth, truth, later], axis=-1))
    times = jnp.array([0.004, 0.008, 0.020])

    def wrong(**options):
        unwrapped = romeo(wrap_phase(phase), mask, GEOMETRY, echo_times=times, **options)
        gap = np.asarray(unwrapped - phase)[np.asarray(mask)]
        turns = (gap - np.median(gap, axis=0)) / (2 * np.pi)
        return (np.abs(turns) > 0.01).mean(axis=0)

    np.testing.assert_array_equal(wrong(individual=True), 0)
    assert wrong()[2] > 0.1


def test_romeo_unwraps_parts_that_do_not_touch(truth):
    mask = ball(SHAPE, 11)
    mask[14:18] = False
    wrapped = wrap_phase(jnp.asarray(truth))
    unwrapped = np.asarray(romeo(wrapped, jnp.asarray(mask), GEOMETRY))
    for part in (mask & (np.indices(SHAPE)[0] < 14), mask & (np.indices(SHAPE)[0] >= 18)):
        gap = (unwrapped - truth)[part]
        np.testing.assert_allclose(gap, np.median(gap), atol=1e-4)


def test_romeo_under_jit_and_grad_is_the_identity_plus_whole_turns(truth):
    mask = jnp.asarray(ball(SHAPE, 11))
    wrapped = wrap_phase(jnp.asarray(truth))
    plain = romeo(wrapped, mask, GEOMETRY)
    np.testing.assert_allclose(jax.jit(lambda w: romeo(w, mask, GEOMETRY))(wrapped), plain, atol=1e-5)
    gradient = jax.grad(lambda w: jnp.sum(romeo(w, mask, GEOMETRY)))(wrapped)
    np.testing.assert_array_equal(gradient, mask.astype(jnp.float32))


def test_laplacian_recovers_smooth_phase_on_anisotropic_voxels(truth):
    mask = np.ones(SHAPE, bool)
    unwrapped = np.asarray(laplacian(wrap_phase(jnp.asarray(truth)), jnp.asarray(mask), GEOMETRY))
    np.testing.assert_allclose(unwrapped - truth, np.median(unwrapped - truth), atol=2e-3)


def test_laplacian_is_right_up_to_the_border_of_a_mask(truth):
    """Phase outside is noise: not a voxel inside may feel it."""
    mask = ball(SHAPE, 11)
    spoiled = np.where(mask, truth, np.random.default_rng(0).uniform(-3, 3, SHAPE))
    unwrapped = laplacian(wrap_phase(jnp.asarray(spoiled)), jnp.asarray(mask), GEOMETRY)
    gap = (np.asarray(unwrapped) - truth)[mask]
    np.testing.assert_allclose(gap, np.median(gap), atol=0.01)
    plain = laplacian(wrap_phase(jnp.asarray(spoiled)), jnp.asarray(mask), GEOMETRY, max_iterations=1)
    rough = (np.asarray(plain) - truth)[mask]
    assert np.abs(rough - np.median(rough)).max() > 1


@pytest.mark.slow
def test_laplacian_gradient(x64):
    shape = (8, 9, 7)
    mask = jnp.asarray(ball(shape, 3.5))
    rng = np.random.default_rng(0)
    # Phase that is no gradient, so that the voxel size decides where the misfit goes.
    wrapped, weights = (jnp.asarray(rng.uniform(-2, 2, shape)) for _ in range(2))

    def loss(phase, voxel_size):
        return jnp.sum(weights * laplacian(phase, mask, Geometry(voxel_size), max_iterations=20))

    voxel_size = jnp.array([1.0, 1.2, 1.5])
    assert_gradient(lambda w: loss(w, voxel_size), wrapped)
    assert_gradient(lambda v: loss(wrapped, v), voxel_size)


def test_laplacian_of_echoes_is_that_of_each(truth):
    mask = jnp.asarray(ball(SHAPE, 11))
    echoes = jnp.stack([wrap_phase(jnp.asarray(truth)), wrap_phase(jnp.asarray(2 * truth))], -1)
    together = laplacian(echoes, mask, GEOMETRY)
    np.testing.assert_allclose(together[..., 1], laplacian(echoes[..., 1], mask, GEOMETRY), atol=1e-3)


def test_align_echoes_settles_whole_turns():
    rng = np.random.default_rng(0)
    field = 1.0 + 0.2 * rng.standard_normal((8, 8, 8))
    times = jnp.array([1.0, 2.0, 3.5])
    truth = jnp.asarray(field[..., None] * np.asarray(times), jnp.float32)
    shifted = truth + 2 * np.pi * jnp.array([0, -3, 2])
    mask = jnp.ones((8, 8, 8), bool)
    np.testing.assert_allclose(align_echoes(shifted, mask, times), truth, atol=1e-4)


def test_congruent_laplacian_gives_exact_multiples_and_the_truth(truth):
    mask = ball(SHAPE, 9)
    noisy = wrap_phase(jnp.asarray(truth + np.random.default_rng(1).normal(0, 0.3, truth.shape)))
    unwrapped = np.asarray(laplacian(noisy, jnp.asarray(mask), GEOMETRY, congruent=True))
    turns = (unwrapped - noisy)[mask] / (2 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-4)
    away = (unwrapped - truth)[mask]
    assert np.ptp(away - away.mean()) < np.pi


@pytest.mark.slow
def test_romeo_on_a_head_with_bleeds_at_snr_20():
    """Fewer than one voxel in 100 000 a turn off, until some have no signal left at the last echo."""
    protocol = Protocol(snr=20.0, oversampling=1)
    phantom = random_head(protocol.phantom_voxel_size, pathology=0.9, key=jax.random.key(11))
    scan = protocol.scan(phantom, key=jax.random.key(1))
    signal = scan.signal * jnp.exp(-1j * scan.phase_offset)[..., None]
    phase, magnitude, mask = jnp.angle(signal), jnp.abs(signal), jnp.asarray(scan.mask)
    times = jnp.asarray(protocol.echo_times)
    unwrapped = romeo(phase, mask, protocol.geometry, magnitude=magnitude, echo_times=times)
    true = scan.total_field[..., None] * protocol.acquisition.phase_per_ppm
    turns = np.rint(np.asarray(unwrapped - true)[scan.mask] / (2 * np.pi))
    wrong = (turns != np.median(turns, axis=0)).mean(axis=0)
    assert (wrong[:3] < 1e-5).all()
    assert wrong[3] < 1e-4


@pytest.mark.parametrize("individual", [False, True])
@pytest.mark.parametrize("template", [0, 1, 2])
@pytest.mark.parametrize("hertz", [-200.0, -60.0, 0.0, 45.0, 200.0])
def test_romeo_settles_the_turns_of_every_part_by_all_echoes(hertz, template, individual):
    """Off the centre frequency, in two parts that do not touch and differ by a frequency of their own.

    Echo times without a common divisor leave one answer.
    """
    times = np.array([0.0031, 0.0074, 0.0128])
    mask = np.zeros(SHAPE, bool)
    mask[3:14, 5:23, 4:20] = mask[18:29, 5:23, 4:20] = True
    field = hertz + 20 * smooth_blobs(SHAPE) + 90 * (np.indices(SHAPE)[0] > 16)
    true = 2 * np.pi * field[..., None] * times
    wrapped = wrap_phase(jnp.asarray(true, jnp.float32))
    options = {"template": template, "individual": individual, "echo_times": jnp.asarray(times)}
    found = romeo(wrapped, jnp.asarray(mask), GEOMETRY, **options)
    np.testing.assert_allclose(np.asarray(found)[mask], true[mask], atol=1e-3)


def test_romeo_leaves_the_median_of_every_part_of_one_echo_near_zero():
    mask = np.zeros(SHAPE, bool)
    mask[3:14, 5:23, 4:20] = mask[18:29, 5:23, 4:20] = True
    true = 9.0 + 30 * (np.indices(SHAPE)[0] > 16) + 3 * smooth_blobs(SHAPE)
    found = np.asarray(romeo(wrap_phase(jnp.asarray(true, jnp.float32)), jnp.asarray(mask), GEOMETRY))
    for part in (slice(3, 14), slice(18, 29)):
        inside = mask.copy()
        inside[: part.start] = inside[part.stop :] = False
        assert abs(np.median(found[inside])) <= np.pi
        gap = (found - true)[inside]
        np.testing.assert_allclose(gap, np.median(gap), atol=1e-4)
