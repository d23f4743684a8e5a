"""``python -m benchmarks.memory``: peak memory of inversions and of their gradients at 256 × 256 × 160.

Each runs in a process of its own, whose peak is read at the end: data, libraries and compiler included.
Gradients are those of Σ χ² with respect to the field, through as many iterations: implicitly, and unrolled
by blocks whose insides are computed again, which is the best that differentiating a loop can do.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.record import write_page
from jaxqsm import Geometry
from jaxqsm.inversion import medi, tv
from jaxqsm.operators import crop
from jaxqsm.single_step import ss_tv
from jaxqsm.variational.admm import total_variation_admm
from jaxqsm.variational.common import referenced
from jaxqsm.variational.data_terms import linear
from jaxqsm.variational.problem import inversion_problem

SHAPE = (256, 256, 160)
GEOMETRY = Geometry((1.0, 1.0, 1.0), (0.2, -0.1, 0.97))
COUNT = 20
FIXED = {"weight": 3e-4, "tolerance": 0.0, "max_iterations": COUNT}


def _unrolled(field: Array, mask: Array) -> Array:
    given = inversion_problem(field, mask, GEOMETRY, None)
    fidelity = linear(given.field, given.weights)
    chi = total_variation_admm(given, fidelity, weight=3e-4, tolerance=None, max_iterations=COUNT)
    return referenced(crop(chi, mask.shape), mask)


def _gradient(solve: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    return lambda field, mask: jax.grad(lambda f: jnp.sum(solve(f, mask) ** 2))(field)


CASES: dict[str, Callable[[Array, Array], Array]] = {
    "data alone": lambda field, mask: field * mask,
    "tv": lambda field, mask: tv(field, mask, GEOMETRY, **FIXED),
    "medi": lambda field, mask: medi(field, mask, GEOMETRY, magnitude=1 + field**2, **FIXED),
    "ss_tv": lambda field, mask: ss_tv(field, mask, GEOMETRY, **FIXED)[0],
    "gradient of tv, implicit": _gradient(lambda f, m: tv(f, m, GEOMETRY, **FIXED)),
    "gradient of tv, unrolled": _gradient(_unrolled),
}


def main(arguments: list[str]) -> None:
    """Write a table of peaks, or run one case and print its own."""
    if arguments:
        rng = np.random.default_rng(0)
        grid = np.ogrid[tuple(slice(-n // 2, n - n // 2) for n in SHAPE)]
        mask = jnp.asarray((grid[0] / 90) ** 2 + (grid[1] / 110) ** 2 + (grid[2] / 70) ** 2 < 1)
        field = jnp.asarray(0.02 * rng.standard_normal(SHAPE, np.float32)) * mask
        jax.block_until_ready(jax.jit(CASES[arguments[0]])(field, mask))
        (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
        print(int(line.split()[1]))
        return
    lines = [f"| {' × '.join(map(str, SHAPE))}, {COUNT} iterations | peak memory |", "| --- | --- |"]
    for name in CASES:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", name], capture_output=True, text=True, check=True
        )
        lines.append(f"| {name} | {int(done.stdout.split()[-1]) / 1024**2:.1f} GiB |")
        print(lines[-1], flush=True)
    write_page("memory", "Peak memory", "python -m benchmarks.memory", *lines)


if __name__ == "__main__":
    main(sys.argv[1:])
