"""Checks that every operator and method goes through."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxqsm import Geometry
from jaxqsm.cli import main
from jaxqsm.methods import Method
from jaxqsm.physics import dipole_field

SHARED = Path(__file__).resolve().parents[2] / "shared"
INVIVO = SHARED / "data" / "invivo_megre"
of_reference_data = pytest.mark.skipif(
    not SHARED.is_dir(), reason="no reference data beside the repository; see CONTRIBUTING.md"
)
"""Mark of tests that read the reference data."""


def at_typical_weight(method: Method) -> Callable:
    """The method with one weight for any data: a search would be as long as all else that a test does."""
    return partial(method.function, **method.fixed)


def assert_adjoint(
    forward: Callable, adjoint: Callable, domain: tuple[int, ...], *, rtol: float = 1e-9
) -> None:
    """⟨A x, y⟩ = ⟨x, Aᵀ y⟩ for random x, y; and ``adjoint`` is JAX's own transpose. Use under x64."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal(domain))
    image = forward(x)
    y = jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape)), image)
    back = adjoint(y)
    left = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(image), jax.tree.leaves(y), strict=True))
    np.testing.assert_allclose(left, jnp.vdot(x, back), rtol=rtol)
    (transposed,) = jax.linear_transpose(forward, x)(y)
    np.testing.assert_allclose(transposed, back, atol=rtol * float(jnp.abs(back).max()) + 1e-13)


def assert_gradient(
    function: Callable, at: jax.Array, *, step: float = 1e-5, rtol: float = 1e-5, seed: int = 0
) -> None:
    """The gradient of a scalar function agrees with central differences along a random direction."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(at.shape)
    if jnp.iscomplexobj(at):
        direction = direction + 1j * rng.standard_normal(at.shape)
    direction = jnp.asarray(direction / np.linalg.norm(direction))
    numeric = (function(at + step * direction) - function(at - step * direction)) / (2 * step)
    # JAX's gradient of a real function of complex input is the conjugate of the steepest ascent.
    analytic = jnp.real(jnp.sum(jax.grad(function)(at) * direction))
    assert jnp.isfinite(analytic)
    np.testing.assert_allclose(analytic, numeric, rtol=rtol)


def relative_error(value, truth, where=None) -> float:
    """Norm of the difference over the norm of the truth."""
    value, truth = np.asarray(value), np.asarray(truth)
    if where is not None:
        value, truth = value[np.asarray(where)], truth[np.asarray(where)]
    return float(np.linalg.norm(value - truth) / np.linalg.norm(truth))


def smooth_blobs(shape: tuple[int, int, int], seed: int = 0, count: int = 6) -> np.ndarray:
    """A few Gaussian blobs of either sign well inside the array: a test object without edges."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape)
    image = np.zeros(shape)
    for _ in range(count):
        centre = [rng.uniform(0.35, 0.65) * n for n in shape]
        width = [rng.uniform(0.06, 0.12) * n for n in shape]
        exponent = sum(((grid[i] - centre[i]) / width[i]) ** 2 for i in range(3))
        image += rng.uniform(-1, 1) * np.exp(-0.5 * exponent)
    return image


def ball(shape: tuple[int, int, int], radius: float) -> np.ndarray:
    """Boolean ball in voxels about the middle."""
    grid = np.indices(shape)
    return sum((grid[i] - n // 2) ** 2 for i, n in enumerate(shape)) <= radius**2


BRAIN_SHAPE = (40, 36, 32)


def brain_of_blocks() -> tuple[np.ndarray, np.ndarray]:
    """Mask and χ of :data:`BRAIN_SHAPE`: two blocks of either sign and a smooth part, in a ball."""
    mask = ball(BRAIN_SHAPE, 13)
    chi = 0.05 * smooth_blobs(BRAIN_SHAPE)
    chi[14:20, 14:20, 12:18] += 0.15
    chi[22:26, 16:22, 14:20] -= 0.1
    return mask, np.where(mask, chi, 0).astype(np.float32)


def brain_beside_strong_sources(geometry: Geometry) -> tuple[jax.Array, jax.Array, jax.Array]:
    """χ and mask of :func:`brain_of_blocks`, and between them its total field by integrated voxels.

    Much stronger sources lie beyond the mask, and the field has an offset.
    """
    mask, chi = (jnp.asarray(v) for v in brain_of_blocks())
    outside = jnp.zeros(BRAIN_SHAPE).at[2:6, 14:20, 2:6].set(30.0).at[30:36, 30:34, 10:16].set(-20.0)
    local, background = (dipole_field(v, geometry, kernel="integrated") for v in (chi, outside))
    assert float(jnp.std(background[mask])) > 5 * float(jnp.std(local[mask]))
    return chi, (local + background + 0.7) * mask, mask


def jaxqsm(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "jaxqsm", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, **options)


def jaxqsm_here(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process: compiled code and imports are shared with other tests."""
    out, err = io.StringIO(), io.StringIO()
    words = [str(argument) for argument in arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
            code = 0
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def assert_refused(done: subprocess.CompletedProcess[str], *mentions: str) -> None:
    """Exit code 2, one error line that mentions what it must, no traceback."""
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("jaxqsm: error:")]
    assert len(errors) == 1, done.stderr
    for text in mentions:
        assert text in errors[0], errors[0]
