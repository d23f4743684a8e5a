"""``python -m benchmarks.unwrapping``: region growing on the host, in parallel, and by scikit-image.

A simulated head at 1 mm, four echoes, at two noises, in one process: seconds of the best of three runs after
compilation, and in how many voxels the turns differ from those of :func:`jaxqsm.unwrapping.romeo` on the CPU,
of all and of those whose magnitude is above a third of the median. Writes ``unwrapping.md`` in ``results/``.
On a GPU the parallel rows are those of the GPU.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from skimage.restoration import unwrap_phase

from benchmarks.record import write_page
from jaxqsm import Geometry
from jaxqsm.evaluation.scans import REFERENCE
from jaxqsm.operators.spanning_forest import NONE, along, spanning_forest
from jaxqsm.phantoms import head
from jaxqsm.physics import add_complex_noise, wrap_phase
from jaxqsm.pipeline import box_around, cut
from jaxqsm.unwrapping import best_path, romeo
from jaxqsm.unwrapping.region_growing import LEVELS, grow_regions

SNRS = (100.0, 20.0)
RUNS = 3
BRIGHT = 1 / 3
"""Part of the median magnitude above which a voxel counts as reliable."""

READING = """`romeo` is as users call it, four echoes with magnitude. The rows below it are of the second echo
alone: one set of edges grown voxel by voxel on the CPU, the same by parts that meet (what GPU and TPU do),
and `best_path` beside scikit-image, which has the same rule. Voxels differ where several ways are equally
sure.
"""


def main() -> None:
    """Measure, write the page and print it."""
    lines = [
        "| SNR | way | seconds | ratio | voxels that differ | of reliable ones |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for snr in SNRS:
        signal, mask, echo_times = _scan(snr)
        lines += [f"| {snr:g} | " + row for row in _rows(signal, mask, echo_times)]
    print("\n".join(lines))
    write_page("unwrapping", "Unwrapping", "python -m benchmarks.unwrapping", READING, "\n".join(lines))


def _scan(snr: float) -> tuple[Array, Array, Array]:
    protocol = dataclasses.replace(REFERENCE, voxel_size=(1.0, 1.0, 1.0), snr=np.inf)
    scan = protocol.scan(head(protocol.phantom_voxel_size), key=jax.random.key(1))
    box = box_around(np.asarray(scan.mask))
    parts = scan.signal, scan.mask, scan.phase_offset
    signal, mask, offset = (jnp.asarray(cut(np.asarray(v), box)) for v in parts)
    level = jnp.sum(jnp.abs(signal[..., 0]) * mask) / mask.sum()
    signal = add_complex_noise(signal / level, 1 / snr, key=jax.random.key(2))
    return signal * jnp.exp(-1j * offset)[..., None], mask, jnp.asarray(protocol.echo_times)


def _rows(signal: Array, mask: Array, echo_times: Array) -> list[str]:
    phase, magnitude = jnp.angle(signal), jnp.abs(signal)
    seconds, _ = _timed(lambda: romeo(phase, mask, Geometry(), magnitude=magnitude, echo_times=echo_times))
    rows = [f"`romeo`, four echoes | {seconds:.2f} | | | |"]
    one, inside = phase[..., 1], np.asarray(mask)
    image = np.asarray(magnitude[..., 1])
    reliable = inside & (image > BRIGHT * np.median(image[inside]))
    costs = _costs(one, mask)
    parallel = jax.jit(spanning_forest)
    ways: dict[str, Callable[[], Array]] = {
        "region growing on the CPU": lambda: grow_regions(one, costs).turns,
        "parts that meet": lambda: parallel(one, costs).turns,
    }
    rows += _compared(ways, inside, reliable)
    single, hidden = np.asarray(one, float), ~inside
    ways = {
        "scikit-image": lambda: _turns(unwrap_phase(np.ma.array(single, mask=hidden)), one),
        "`best_path`": lambda: _turns(best_path(one, mask, Geometry()), one),
    }
    return rows + _compared(ways, inside, reliable)


def _compared(ways: dict[str, Callable[[], Array]], inside: np.ndarray, reliable: np.ndarray) -> list[str]:
    """Rows of ways beside the first of them."""
    rows, first = [], None
    for name, way in ways.items():
        seconds, turns = _timed(way)
        found = np.asarray(turns)
        if first is None:
            first = seconds, found
            rows.append(f"{name} | {seconds:.2f} | 1 | | |")
            continue
        gap = found - first[1]
        differs = gap != np.median(gap[inside])
        rows.append(
            f"{name} | {seconds:.2f} | {first[0] / seconds:.2f} | {differs[inside].mean():.1e} | "
            f"{differs[reliable].mean():.1e} |"
        )
    return rows


def _costs(phase: Array, mask: Array) -> Array:
    """Costs of edges by the size of their phase difference."""
    costs = []
    for axis in range(3):
        difference = jnp.abs(wrap_phase(along(phase, axis) - phase)) / jnp.pi
        cost = 1 + jnp.floor(difference * (LEVELS - 1)).astype(jnp.int32)
        costs.append(jnp.where(mask & along(mask, axis), cost, NONE))
    return jnp.stack(costs)


def _turns(unwrapped: Array, phase: Array) -> Array:
    return jnp.rint((jnp.asarray(np.asarray(unwrapped)) - phase) / (2 * jnp.pi)).astype(jnp.int32)


def _timed(way: Callable[[], Array]) -> tuple[float, Array]:
    found, best = jax.block_until_ready(way()), np.inf
    for _ in range(RUNS):
        start = time.perf_counter()
        jax.block_until_ready(way())
        best = min(best, time.perf_counter() - start)
    return best, found


if __name__ == "__main__":
    main()
