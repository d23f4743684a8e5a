"""Layers that use the physics: what they minimise, for oblique fields, cuts and weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_gradient, ball, relative_error, smooth_blobs

from jaxqsm import Geometry
from jaxqsm.networks import closed_form_step, gradient_step, measurement, nonlinear_step, proximal_step
from jaxqsm.physics import dipole_convolve, dipole_kernel

SHAPE = (20, 18, 22)
GEOMETRY = Geometry((1.0, 1.0, 1.5), (0.3, -0.2, 0.9))


@pytest.fixture
def scan():
    mask = jnp.asarray(ball(SHAPE, 8))
    chi = 0.1 * jnp.asarray(smooth_blobs(SHAPE, seed=1), jnp.float32) * mask
    magnitude = 1 + 0.5 * jnp.asarray(smooth_blobs(SHAPE, seed=2), jnp.float32)
    data = measurement(jnp.zeros(SHAPE), mask, GEOMETRY, magnitude)
    return data._replace(field=data.predict(chi) * mask), chi, mask


def _misfit(chi, data):
    return 0.5 * jnp.sum((data.weights * (data.predict(chi) - data.field)) ** 2)


def test_gradient_step_is_down_the_misfit(scan):
    data, chi, _ = scan
    start = 0.5 * chi
    expected = start - 0.7 * jax.grad(_misfit)(start, data)
    np.testing.assert_allclose(gradient_step(start, data, 0.7), expected, atol=1e-6)


def test_nonlinear_step_is_down_its_misfit_and_ignores_wraps(scan):
    data, chi, _ = scan
    start, scale = 0.5 * chi, 40.0

    def misfit(image):
        difference = jnp.exp(1j * scale * data.predict(image)) - jnp.exp(1j * scale * data.field)
        return 0.5 * jnp.sum(data.weights**2 * jnp.abs(difference) ** 2) / scale**2

    step = nonlinear_step(start, data, 0.7, phase_scale=scale)
    np.testing.assert_allclose(step, start - 0.7 * jax.grad(misfit)(start), atol=2e-5)
    wrapped = data._replace(field=data.field + 2 * jnp.pi / scale * (data.weights > 1.1))
    again = nonlinear_step(start, wrapped, 0.7, phase_scale=scale)
    np.testing.assert_allclose(again, step, atol=2e-5)
    small = nonlinear_step(start, data, 0.7, phase_scale=0.01)
    np.testing.assert_allclose(small, gradient_step(start, data, 0.7), atol=1e-5)


@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_proximal_step_solves_its_normal_equations(scan, strength):
    data, chi, _ = scan
    start = 0.3 * chi
    out = proximal_step(start, data, strength, max_iterations=60)
    total = jax.grad(lambda v: _misfit(v, data) + 0.5 * strength * jnp.sum((v - start) ** 2))
    assert float(jnp.abs(total(out)).max()) < 1e-5 * float(jnp.abs(total(start)).max()) + 1e-8


@pytest.mark.parametrize("size", [1.0, 0.4])
def test_proximal_step_is_one_division_where_every_voxel_counts_alike(scan, size):
    """Its preconditioner is then the inverse itself, so that one iteration is all."""
    data, chi, _ = scan
    shape = chi.shape
    data = data._replace(kernel=dipole_kernel(shape, GEOMETRY), weights=jnp.full(shape, size))
    start, strength = 0.3 * chi, 0.2
    out = proximal_step(start, data, strength, max_iterations=1)
    right = dipole_convolve(size**2 * data.field, data.kernel, shape) + strength * start
    expected = dipole_convolve(right, 1 / (size**2 * data.kernel**2 + strength), shape)
    np.testing.assert_allclose(out, expected, atol=1e-5 * float(jnp.abs(expected).max()))


def test_closed_form_step_lowers_its_objective_and_has_the_truth_as_fixed_point(scan):
    data, chi, _ = scan
    np.testing.assert_allclose(closed_form_step(chi, data, 0.1), chi, atol=1e-6)
    state, start = jnp.zeros_like(chi), relative_error(jnp.zeros_like(chi), chi)
    for _ in range(20):
        state = closed_form_step(state, data, 0.05, rho=0.1)
    assert relative_error(state, chi) < 0.65 * start
    assert float(_misfit(state, data)) < 0.01 * float(_misfit(0 * chi, data))


@pytest.mark.parametrize("step", [closed_form_step, proximal_step])
def test_steps_scale_with_their_data(scan, step):
    data, chi, _ = scan
    once = step(0.2 * chi, data, 0.3)
    twice = step(0.4 * chi, data._replace(field=2 * data.field), 0.3)
    np.testing.assert_allclose(twice, 2 * once, atol=1e-6)


def test_gradients_reach_strength_voxel_size_and_direction():
    with jax.enable_x64(True):
        mask = jnp.asarray(ball((12, 12, 12), 5))
        chi = jnp.asarray(smooth_blobs((12, 12, 12)))
        field = measurement(chi, mask, Geometry(), None).predict(chi)

        def value(parts):
            geometry = Geometry(parts[1:4], parts[4:7])
            data = measurement(field, mask, geometry, None)
            near = closed_form_step(0.5 * chi, data, parts[0])
            exact = proximal_step(near, data, parts[0], max_iterations=80)
            return jnp.sum(jnp.sin(exact) * chi)

        assert_gradient(value, jnp.array([0.2, 1.0, 1.1, 1.3, 0.1, 0.2, 0.9]), rtol=1e-4)
