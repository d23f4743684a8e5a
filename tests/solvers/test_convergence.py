"""Notes of iterations say what happened, change nothing, and are found wherever they are left."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxqsm.solvers import conjugate_gradient, fixed_point, iterate, solve_symmetric, with_convergence

HALF = 0.5


def _halve(start, *, tolerance=1e-3, max_iterations=100):
    return fixed_point(lambda s: HALF * s + 1, start, tolerance=tolerance, max_iterations=max_iterations)


def test_iterations_and_change_are_those_of_the_iteration():
    # s = 2 - 2·2^-n, so the change is 2^-n·2 / s: below 1e-3 first at n = 10.
    result, (note,) = with_convergence(_halve)(jnp.array(0.0))
    assert result == _halve(jnp.array(0.0))
    assert note.iterations == 10
    np.testing.assert_allclose(note.change, 2.0**-9 / (2 - 2.0**-9), rtol=1e-5)
    assert note.tolerance == np.float32(1e-3)
    assert note.converged


def test_what_ends_at_its_last_iteration_has_not_converged():
    _, (note,) = with_convergence(_halve)(jnp.array(0.0), tolerance=1e-3, max_iterations=9)
    assert (note.iterations, bool(note.converged)) == (9, False)


@pytest.mark.parametrize("many", [100, 2000])
def test_notes_cost_no_derivative(many, x64):
    assert jax.grad(lambda b: fixed_point(lambda s: HALF * s + b, b, tolerance=1e-9, max_iterations=many))(
        1.0
    ) == pytest.approx(2, abs=1e-6)


def test_the_residual_of_an_equation_is_that_which_is_left(x64):
    scale = jnp.array([1.0, 4.0, 9.0, 16.0])
    right = jnp.ones(4)
    for solve in (conjugate_gradient, solve_symmetric):
        found, (note,) = with_convergence(
            lambda b, solve=solve: solve(lambda x: scale * x, b, max_iterations=2)
        )(right)
        left = jnp.linalg.norm(right - scale * found) / jnp.linalg.norm(right)
        np.testing.assert_allclose(note.change, left, rtol=1e-9)
        assert note.iterations == 2
        # Stopping early is the regularisation of the one, and a failure of the other.
        assert bool(note.converged) == (solve is conjugate_gradient)


def test_notes_are_found_in_calls_loops_and_equations():
    @jax.jit
    def inner(b):
        return jax.checkpoint(_halve)(b) + solve_symmetric(lambda x: 2 * x, b, max_iterations=1)

    def outer(b):
        def again(carry, row):
            return _halve(carry + row), row

        last, _ = jax.lax.scan(again, inner(b), jnp.arange(3.0))
        return jax.jit(inner)(last)

    result, notes = with_convergence(outer)(jnp.array(0.3))
    np.testing.assert_allclose(result, outer(jnp.array(0.3)), rtol=1e-6)
    assert len(notes) == 5


def test_what_a_search_solves_is_left_out():
    def search(b):
        return jax.lax.while_loop(lambda x: x < 5, lambda x: x + _halve(x), b)

    result, notes = with_convergence(search)(jnp.array(0.0))
    assert notes == ()
    assert result == search(jnp.array(0.0))


def test_each_of_a_batch_has_its_note():
    starts = jnp.array([0.0, 2.0])
    result, (note,) = jax.vmap(with_convergence(_halve))(starts)
    np.testing.assert_array_equal(result, jax.vmap(_halve)(starts))
    np.testing.assert_array_equal(note.iterations, [10, 1])
    inside, (same,) = with_convergence(jax.vmap(_halve))(starts)
    np.testing.assert_array_equal(inside, result)
    np.testing.assert_array_equal(same.iterations, note.iterations)


def test_options_stay_what_they_are():
    def count(start, *, times, name, shift):
        assert isinstance(times, int)
        assert name == "a"
        return iterate(lambda s: s + shift, start, times)

    result, notes = with_convergence(count)(jnp.array(0.0), times=3, name="a", shift=jnp.array(2.0))
    assert (result, notes) == (6, ())
