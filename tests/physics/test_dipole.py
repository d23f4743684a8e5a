import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_adjoint, assert_gradient, relative_error, smooth_blobs
from qsm_forward import generate_field

from jaxqsm import Geometry
from jaxqsm.phantoms import cylinder, cylinder_field, random_head, sphere, sphere_field
from jaxqsm.physics import dipole_adjoint, dipole_field, dipole_kernel, magnetisation_field

OBLIQUE = Geometry((1.0, 1.2, 1.7), (0.3, -0.5, 0.8))
KERNELS = ("kspace", "greens", "integrated", "bandlimited")


@pytest.mark.parametrize(("kernel", "tolerance"), [("greens", 0.02), ("integrated", 0.02), ("kspace", 0.1)])
def test_sphere_in_free_space(kernel, tolerance):
    """A sphere 24 voxels wide, oblique and anisotropic, away from the stair-cased surface."""
    shape = (64, 56, 40)
    chi = sphere(shape, OBLIQUE, radius=12.0)
    truth = sphere_field(shape, OBLIQUE, radius=12.0)
    surface = sphere(shape, OBLIQUE, radius=14.5) - sphere(shape, OBLIQUE, radius=9.5) > 0
    field = dipole_field(chi, OBLIQUE, kernel=kernel)
    assert relative_error(field, truth, ~np.asarray(surface)) < tolerance


@pytest.mark.parametrize("angle", [0.0, 35.0, 90.0])
def test_infinite_cylinder_at_an_angle(angle):
    """Along the periodic z axis the cylinder has no ends."""
    shape = (128, 128, 8)
    radians = np.deg2rad(angle)
    geometry = Geometry((1.0, 1.0, 2.0), (np.sin(radians) * 0.6, np.sin(radians) * 0.8, np.cos(radians)))
    options = {"axis": (0.0, 0.0, 1.0), "radius": 10.0}
    chi = cylinder(shape, geometry, **options)
    truth = cylinder_field(shape, geometry, **options)
    field = dipole_field(chi, geometry, boundary="periodic")
    inside = np.asarray(cylinder(shape, geometry, axis=(0, 0, 1), radius=8.0)) == 1
    ring = np.asarray(cylinder(shape, geometry, axis=(0, 0, 1), radius=30.0)) > 0
    ring &= np.asarray(cylinder(shape, geometry, axis=(0, 0, 1), radius=13.0)) == 0
    # k = 0 is zero by convention, so the mean over the array is lost: compare inside with outside.
    offset = float(np.mean(np.asarray(field - truth)[ring]))
    assert relative_error(field - offset, truth, inside | ring) < 0.03


@pytest.mark.parametrize("b0_dir", [(0.0, 0.0, 1.0), (0.4, 0.3, 0.85), (-0.7, 0.1, 0.7)])
def test_agrees_with_qsm_forward(b0_dir, x64):
    """Same continuous kernel, twice the size; its k = 0 entry is 1/3, so only the mean differs.

    In-plane voxel sizes are equal because qsm-forward exchanges its first two axes there.
    """
    chi = smooth_blobs((20, 24, 18))
    voxel_size = (1.3, 1.3, 0.7)
    unit = np.array(b0_dir) / np.linalg.norm(b0_dir)
    theirs = generate_field(chi, voxel_size=list(voxel_size), B0_dir=list(unit))
    chi = jnp.asarray(chi)
    ours = jnp.fft.irfftn(
        jnp.fft.rfftn(jnp.pad(chi, [(0, n) for n in chi.shape]))
        * dipole_kernel([2 * n for n in chi.shape], Geometry(voxel_size, b0_dir)),
        s=[2 * n for n in chi.shape],
    )[: chi.shape[0], : chi.shape[1], : chi.shape[2]]
    assert relative_error(ours - ours.mean(), theirs - theirs.mean()) < 2e-3


@pytest.mark.parametrize("boundary", ["free", "periodic"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_adjoint(kernel, boundary, x64):
    geometry = Geometry((1.0, 1.2, 1.7), (0.3, -0.5, 0.8))
    options = {"kernel": kernel, "boundary": boundary}
    assert_adjoint(
        lambda c: dipole_field(c, geometry, **options),
        lambda f: dipole_adjoint(f, geometry, **options),
        (10, 11, 12),
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients(kernel, x64):
    chi = jnp.asarray(smooth_blobs((10, 12, 8)))
    weights = jnp.asarray(np.random.default_rng(1).standard_normal(chi.shape))

    def loss(c, size, direction):
        return jnp.sum(weights * dipole_field(c, Geometry(size, direction), kernel=kernel) ** 2)

    size, direction = jnp.array([1.0, 1.2, 1.7]), jnp.array([0.3, -0.5, 0.8])
    assert_gradient(lambda c: loss(c, size, direction), chi)
    assert_gradient(lambda s: loss(chi, s, direction), size)
    assert_gradient(lambda d: loss(chi, size, d), direction)


@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(
    st.permutations(range(3)),
    st.lists(st.sampled_from([-1, 1]), min_size=3, max_size=3),
    st.integers(0, 1000),
)
def test_turning_everything_turns_the_field(order, signs, seed):
    """Exchanging and flipping axes of χ, voxel size and field direction together changes nothing."""
    rng = np.random.default_rng(seed)
    chi = rng.standard_normal((9, 11, 13)).astype(np.float32)
    direction = rng.standard_normal(3)
    size = rng.uniform(0.5, 2, 3)

    def turned(volume):
        return np.transpose(volume, order)[tuple(slice(None, None, s) for s in signs)]

    field = dipole_field(jnp.asarray(chi), Geometry(size, direction), kernel="integrated")
    other = Geometry(size[list(order)], (direction[list(order)] * signs))
    again = dipole_field(jnp.asarray(turned(chi).copy()), other, kernel="integrated")
    np.testing.assert_allclose(again, turned(np.asarray(field)), atol=3e-5 * np.abs(field).max())


@pytest.mark.parametrize("kernel", KERNELS)
def test_scale_of_the_world_does_not_matter(kernel):
    chi = jnp.asarray(smooth_blobs((16, 16, 16)), jnp.float32)
    small = dipole_field(chi, Geometry((1.0, 1.2, 1.7), (0.3, -0.5, 0.8)), kernel=kernel)
    large = dipole_field(chi, Geometry((3.0, 3.6, 5.1), (0.6, -1.0, 1.6)), kernel=kernel)
    np.testing.assert_allclose(small, large, atol=1e-5)


def test_vmap_over_orientations_under_jit():
    chi = jnp.asarray(smooth_blobs((12, 12, 12)), jnp.float32)
    directions = jnp.eye(3)
    fields = jax.jit(jax.vmap(lambda d: dipole_field(chi, Geometry(b0_dir=d))))(directions)
    # The three kernels sum to 1/3 · 3 − 1 = 0 at every k.
    np.testing.assert_allclose(fields.sum(0), 0, atol=1e-6)
    np.testing.assert_allclose(fields[0], dipole_field(chi, Geometry(b0_dir=(1, 0, 0))), atol=1e-6)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="kernel"):
        dipole_kernel((8, 8, 8), Geometry(), kernel="wrong")
    with pytest.raises(ValueError, match="boundary"):
        dipole_field(jnp.zeros((8, 8, 8)), Geometry(), boundary="wrong")


@pytest.mark.parametrize("b0_dir", [(0.0, 0.0, 1.0), (0.0, 0.7, 0.7)])
def test_bandlimited_kernel_is_the_kspace_one_without_images(b0_dir):
    """The k-space kernel on an ever larger grid, whose images are ever farther."""
    geometry = Geometry((1.0, 1.0, 1.0), b0_dir)
    chi = jnp.zeros((24, 24, 24)).at[4:20, 5:21, 3:22].set(1.0).at[9:12, 9:15, 10:14].set(-1.0)
    wide = jnp.pad(chi, 84)
    limit = dipole_field(wide, geometry)[84:-84, 84:-84, 84:-84]
    free = dipole_field(chi, geometry, kernel="bandlimited")
    images = dipole_field(chi, geometry)
    assert relative_error(free, limit) < 0.01
    assert relative_error(free, limit) < 0.3 * relative_error(images, limit)


def test_field_of_an_isotropic_tensor_is_the_dipole_field(x64):
    chi = jnp.asarray(smooth_blobs((20, 24, 18)))
    magnetisation = chi * OBLIQUE.unit_b0_dir[:, None, None, None]
    expected = dipole_field(chi, OBLIQUE)
    np.testing.assert_allclose(magnetisation_field(magnetisation, OBLIQUE), expected, atol=1e-6)


def test_field_across_the_main_field_turns_with_the_axes(x64):
    """Magnetisation along x in a field along z: swapping the first two axes swaps x for y."""
    chi = jnp.asarray(smooth_blobs((20, 20, 20)))
    zero = jnp.zeros_like(chi)
    along_x = magnetisation_field(jnp.stack([chi, zero, zero]), Geometry())
    turned = magnetisation_field(jnp.stack([zero, chi.swapaxes(0, 1), zero]), Geometry())
    np.testing.assert_allclose(along_x, turned.swapaxes(0, 1), atol=1e-12)
    # Outside a ball: 3 x z volume / (4π r⁵), positive where x and z have one sign.
    ball = sphere((48, 48, 48), Geometry(), radius=5.0)
    nothing = jnp.zeros_like(ball)
    field = magnetisation_field(jnp.stack([ball, nothing, nothing]), Geometry())
    expected = 4 / 3 * np.pi * 5**3 * 3 * 8 * 8 / (4 * np.pi * 128**2.5)
    np.testing.assert_allclose(field[32, 24, 32], expected, rtol=0.05)
    np.testing.assert_allclose(field[32, 24, 16], -expected, rtol=0.05)


@pytest.mark.slow
def test_random_head_agrees_with_qsm_forward():
    """The whole path of an independent simulator on the same person: k-space kernel, padded."""
    person = random_head((2.0, 2.0, 2.0), key=jax.random.key(3))
    chi = np.asarray(person.chi * person.mask, np.float64)
    peer = generate_field(chi, voxel_size=np.array([2.0, 2.0, 2.0]), B0_dir=np.array([0.0, 0.0, 1.0]))
    ours = dipole_field(jnp.asarray(chi, jnp.float32), Geometry((2.0, 2.0, 2.0)))
    assert relative_error(ours, peer, person.mask) < 0.02
