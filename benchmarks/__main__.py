"""``python -m benchmarks [name ...]``: dipole, tv, ndi, run; each against SciPy's FFT in this process.

Every figure is the best of several runs after compilation, both sides on the same data in the same
process; the ratio says how many times faster jaxqsm is. Results of both sides are compared first.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import reference
from jaxqsm import Acquisition, Geometry
from jaxqsm.inversion import ndi, tv
from jaxqsm.inversion._common import padded_shape
from jaxqsm.phantoms import head
from jaxqsm.physics import dipole_convolve, dipole_field, dipole_kernel, gre_signal
from jaxqsm.pipeline import Config, reconstruct

SHAPE = (160, 160, 160)
DIRECTION = np.array([0.2, -0.1, 0.97]) / np.linalg.norm([0.2, -0.1, 0.97])
GEOMETRY = Geometry((1.0, 1.0, 1.0), DIRECTION)
FEW, MANY = 5, 15
Row = tuple[str, float, float, float]


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all, and print a table."""
    benchmarks = {"dipole": _dipole, "tv": _tv, "ndi": _ndi, "run": _run}
    unknown = [n for n in names if n not in benchmarks]
    if unknown:
        sys.exit(f"unknown benchmark {unknown[0]}; use {', '.join(benchmarks)}")
    table = Table("at 160³", "jaxqsm", "SciPy FFT", "times faster", "results differ by")
    for name in names or benchmarks:
        label, ours, theirs, difference = benchmarks[name]()
        table.add_row(label, f"{ours:.3f} s", f"{theirs:.3f} s", f"{theirs / ours:.2f}", f"{difference:.1e}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    console = Console(width=110)
    console.print(table)
    console.print(f"{jax.devices()[0].device_kind}; peak memory of this process {peak:.1f} GiB")


def _data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Brain of the head phantom, cut or padded to 160³: χ, its field, mask."""
    phantom = head((1.05, 1.1, 1.05))
    volumes = []
    for volume in (phantom.mask, np.asarray(phantom.chi) * phantom.mask):
        part = volume[
            tuple(slice(max(0, (n - 160) // 2), max(0, (n - 160) // 2) + 160) for n in volume.shape)
        ]
        volumes.append(np.pad(part, [(0, 160 - n) for n in part.shape]))
    mask, chi = volumes
    return chi, np.asarray(dipole_field(jnp.asarray(chi), GEOMETRY)), mask


def _dipole() -> Row:
    chi = _data()[0]
    ours_kernel = dipole_kernel(SHAPE, GEOMETRY)
    theirs_kernel = reference.dipole_kernel(SHAPE, DIRECTION)
    image = jnp.asarray(chi)
    ours = jax.jit(lambda c: dipole_convolve(c, ours_kernel, SHAPE))
    difference = _difference(ours(image), reference.convolve(chi, theirs_kernel))
    return (
        "dipole convolution",
        _best(lambda: ours(image).block_until_ready(), 8),
        _best(lambda: reference.convolve(chi, theirs_kernel), 8),
        difference,
    )


def _tv() -> Row:
    _, field, mask = _data()
    arrays = jnp.asarray(field), jnp.asarray(mask)
    padded = padded_shape(SHAPE)

    def ours(iterations: int) -> jax.Array:
        return tv(*arrays, GEOMETRY, tolerance=0.0, max_iterations=iterations).block_until_ready()

    def theirs(iterations: int) -> np.ndarray:
        return reference.tv(field, mask, DIRECTION, padded, iterations)

    return _per_iteration("TV, an iteration", ours, theirs)


def _ndi() -> Row:
    _, field, mask = _data()
    arrays = jnp.asarray(field), jnp.asarray(mask)
    padded = padded_shape(SHAPE)

    def ours(iterations: int) -> jax.Array:
        return ndi(*arrays, GEOMETRY, iterations=iterations).block_until_ready()

    def theirs(iterations: int) -> np.ndarray:
        return reference.ndi(field, mask, DIRECTION, padded, iterations)

    return _per_iteration("NDI, an iteration", ours, theirs)


def _run() -> Row:
    """All stages; the reference replaces only the inversion, by far the longest, with SciPy's."""
    _, field, mask = _data()
    acquisition = Acquisition((0.004, 0.012, 0.020), 3.0)
    signal = gre_signal(jnp.asarray(field), acquisition, r2star=25.0)
    inside = jnp.asarray(mask)
    config = Config(options={"tv": {"tolerance": 0.0, "max_iterations": 40}})
    before = Config(inversion="tkd")

    def ours() -> jax.Array:
        return reconstruct(signal, inside, GEOMETRY, acquisition, config).chi.block_until_ready()

    def theirs() -> np.ndarray:
        maps = reconstruct(signal, inside, GEOMETRY, acquisition, before)
        local, valid = np.asarray(maps.local_field), np.asarray(maps.mask)
        return reference.tv(local, valid, DIRECTION, padded_shape(SHAPE), 40)

    difference = _difference(ours(), theirs())
    return "whole run, TV with 40 iterations", _best(ours, 2), _best(theirs, 2), difference


def _per_iteration(label: str, ours: Callable[[int], jax.Array], theirs: Callable[[int], np.ndarray]) -> Row:
    difference = _difference(ours(FEW), theirs(FEW))
    ours(MANY)

    def seconds(function: Callable[[int], object]) -> float:
        return (_best(lambda: function(MANY), 2) - _best(lambda: function(FEW), 2)) / (MANY - FEW)

    return label, seconds(ours), seconds(theirs), difference


def _best(work: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _difference(ours: jax.Array, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs))


if __name__ == "__main__":
    main(sys.argv[1:])
