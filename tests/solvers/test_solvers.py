import jax
import jax.numpy as jnp
import numpy as np
from helpers import assert_gradient

from jaxqsm.solvers import conjugate_gradient, douglas_rachford, fixed_point, iterate, shrink


def _matrix(size: int = 12, seed: int = 0):
    root = np.random.default_rng(seed).standard_normal((size, size))
    return jnp.asarray(root @ root.T / size + 0.5 * np.eye(size))


def test_conjugate_gradient_solves_and_matches_numpy(x64):
    matrix = _matrix()
    right = jnp.arange(12.0)
    solution = conjugate_gradient(lambda v: matrix @ v, right, max_iterations=12)
    np.testing.assert_allclose(solution, np.linalg.solve(matrix, right), rtol=1e-6)


def test_preconditioner_hastens_to_the_same_solution(x64):
    matrix = _matrix() * jnp.outer(2.0 ** jnp.arange(12), 2.0 ** jnp.arange(12))
    right = jnp.arange(12.0)
    exact = np.linalg.solve(matrix, right)
    scale = 1 / jnp.diag(matrix)
    plain = conjugate_gradient(lambda v: matrix @ v, right, max_iterations=12)
    helped = conjugate_gradient(
        lambda v: matrix @ v, right, max_iterations=12, preconditioner=lambda r: scale * r
    )
    np.testing.assert_allclose(helped, exact, rtol=1e-6)
    assert np.linalg.norm(plain - exact) > 1e-3 * np.linalg.norm(exact)


def test_conjugate_gradient_stays_put_after_convergence(x64):
    solution = conjugate_gradient(lambda v: v, jnp.ones(5), max_iterations=20)
    np.testing.assert_allclose(solution, 1)


def test_conjugate_gradient_differentiates_the_early_iterate(x64):
    matrix = _matrix()
    assert_gradient(
        lambda r: jnp.sum(conjugate_gradient(lambda v: matrix @ v, r, max_iterations=4) ** 3),
        jnp.arange(1.0, 13.0) / 12,
    )


def test_fixed_point_value_and_implicit_derivatives(x64):
    """x = cos(a x): derivative from the implicit function theorem, in both modes."""

    def solve(a):
        return fixed_point(lambda x: jnp.cos(a * x), jnp.zeros(3), tolerance=1e-13, max_iterations=2000)

    a = jnp.array([0.3, 0.6, 0.9])
    x = solve(a)
    np.testing.assert_allclose(x, jnp.cos(a * x), rtol=1e-10)
    expected = -x * jnp.sin(a * x) / (1 + a * jnp.sin(a * x))
    np.testing.assert_allclose(jax.grad(lambda v: solve(v).sum())(a), expected, rtol=1e-8)
    np.testing.assert_allclose(jax.jvp(solve, (a,), (jnp.ones(3),))[1], expected, rtol=1e-8)


def test_fixed_point_has_the_derivative_of_the_iterations_that_were_done(x64):
    """Far from converged, in both modes, alone and of a batch whose members stop at different counts."""

    def solve(a):
        return fixed_point(lambda x: jnp.cos(a * x), jnp.zeros(()), tolerance=0.3, max_iterations=50)

    def iterated(a, count):
        x = jnp.zeros(())
        for _ in range(count):
            x = jnp.cos(a * x)
        return x

    a = jnp.array([0.2, 0.9])
    counts = [next(n for n in range(50) if abs(iterated(v, n) - solve(v)) < 1e-12) for v in a]
    assert counts[0] < counts[1] < 10
    expected = [jax.grad(iterated)(v, n) for v, n in zip(a, counts, strict=True)]
    assert abs(expected[1] - jax.grad(iterated)(a[1], 50)) > 0.05
    np.testing.assert_allclose([jax.grad(solve)(v) for v in a], expected, rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(jax.grad(solve))(a), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.grad(lambda v: jax.vmap(solve)(v).sum())(a), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jvp(jax.vmap(solve), (a,), (jnp.ones(2),))[1], expected, rtol=1e-12)
    np.testing.assert_allclose(jax.grad(jax.grad(solve))(a[1]), jax.grad(jax.grad(iterated))(a[1], counts[1]))


def test_fixed_point_stops_at_the_limit():
    count = fixed_point(lambda x: x + 1, jnp.zeros(()), tolerance=0.0, max_iterations=7)
    assert count == 7


def test_iterate_equals_a_loop_for_every_count(x64):
    for count in (0, 1, 2, 7, 16, 23):
        expected = 1.0
        for _ in range(count):
            expected = np.cos(expected)
        np.testing.assert_allclose(iterate(jnp.cos, jnp.ones(()), count), expected)
    assert_gradient(lambda x: iterate(jnp.sin, x, 10), jnp.asarray(0.7))


def test_shrink_is_the_proximal_map_of_the_sum_of_sizes(x64):
    """argmin over z of t |z| + ½ (z − v)², found on a fine grid."""
    vectors = tuple(jnp.asarray(np.random.default_rng(0).standard_normal((3, 50))))
    shrunk = np.stack(shrink(vectors, 0.8))
    grid = np.linspace(-4, 4, 80_001)
    costs = 0.8 * np.abs(grid) + 0.5 * (grid - np.stack(vectors)[..., None]) ** 2
    np.testing.assert_allclose(shrunk, grid[np.argmin(costs, axis=-1)], atol=1e-4)
    gradient = jax.grad(lambda v: sum(c.sum() for c in shrink(v, 0.8)))(tuple(jnp.zeros((3, 4))))
    assert all(bool(jnp.all(g == 0)) for g in gradient)


def test_relaxed_splitting_comes_to_the_same_solution_sooner(x64):
    """Least squares with a penalty on sizes, whose solution coordinate descent confirms."""
    rng = np.random.default_rng(0)
    matrix, right, weight = rng.standard_normal((12, 8)), rng.standard_normal(12), 0.7
    normal = jnp.asarray(matrix.T @ matrix + np.eye(8))

    def proximal(v):
        return jnp.sign(v) * jnp.maximum(jnp.abs(v) - weight, 0)

    def nearest(v):
        x = jnp.linalg.solve(normal, jnp.asarray(matrix.T @ right) + v)
        return x, x

    def solve(relaxation, count):
        options = {"relaxation": relaxation, "tolerance": None, "max_iterations": count}
        return np.asarray(douglas_rachford(proximal, nearest, jnp.zeros(8), **options))

    exact = np.zeros(8)
    for _ in range(400):
        for i, column in enumerate(matrix.T):
            rest = column @ (right - matrix @ exact) + column @ column * exact[i]
            exact[i] = np.sign(rest) * max(abs(rest) - weight, 0) / (column @ column)
    plain, relaxed = (np.linalg.norm(solve(r, 20) - exact) for r in (1.0, 1.8))
    assert relaxed < plain
    np.testing.assert_allclose(solve(1.8, 600), exact, atol=1e-8)
