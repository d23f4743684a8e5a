import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxqsm import Acquisition, Geometry


def test_unit_direction_and_volume():
    geometry = Geometry((1.0, 2.0, 3.0), (0.0, 3.0, 4.0))
    np.testing.assert_allclose(geometry.unit_b0_dir, [0, 0.6, 0.8], rtol=1e-6)
    assert float(geometry.voxel_volume) == 6
    # Networks are given a batch of them at once.
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), geometry, Geometry((2.0, 2.0, 2.0)))
    np.testing.assert_allclose(batch.unit_b0_dir, [[0, 0.6, 0.8], [0, 0, 1]], rtol=1e-6)
    np.testing.assert_array_equal(batch.voxel_volume, [6, 8])


def test_phase_per_ppm_is_larmor():
    acquisition = Acquisition((0.01, 0.02), 3.0)
    # 1 ppm at 3 T is 127.73 Hz, and 10 ms of it 1.2773 turns.
    np.testing.assert_allclose(acquisition.phase_per_ppm / (2 * np.pi), [1.277324, 2.554649], rtol=1e-6)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="voxel_size"):
        Geometry((1.0, 1.0))
    with pytest.raises(ValueError, match="echo_times"):
        Acquisition(0.01, 3.0)


def test_both_are_pytrees_under_vmap_and_grad():
    directions = jnp.eye(3)
    result = jax.vmap(lambda d: Geometry((1.0, 1.0, 1.0), 2 * d).unit_b0_dir)(directions)
    np.testing.assert_allclose(result, np.eye(3))
    gradient = jax.grad(lambda g: g.voxel_volume)(Geometry((1.0, 2.0, 3.0)))
    np.testing.assert_allclose(gradient.voxel_size, [6, 3, 2])
