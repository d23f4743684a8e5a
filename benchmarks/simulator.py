"""``python -m benchmarks.simulator``: simulated patches a second, and qsm-forward on arrays of that size.

qsm-forward is given χ and relaxation and makes field, four echoes and noise of them. jaxqsm also makes the
person, the field of the rest of the head, and the local field.
"""

from __future__ import annotations

import time

import jax
import numpy as np
from qsm_forward import generate_field, generate_signal
from qsm_forward.qsm_forward import add_noise
from rich.console import Console
from rich.table import Table

from jaxqsm.simulation import Variety, patch_stream

SHAPE, BATCH, ECHOES = (64, 64, 64), 4, 4


def main() -> None:
    """Print the table."""
    table = Table("64³, 4 echoes", "seconds a patch", "patches a second")
    for label, seconds in (
        ("jaxqsm, light", _ours(Variety(echoes=ECHOES))),
        ("jaxqsm, signal on half voxels", _ours(Variety(echoes=ECHOES, oversampling=2))),
        ("qsm-forward, given χ", _theirs()),
    ):
        table.add_row(label, f"{seconds:.2f}", f"{1 / seconds:.2f}")
    Console(width=100).print(table)


def _ours(variety: Variety) -> float:
    draw = patch_stream(SHAPE, batch_size=BATCH, variety=variety)
    jax.block_until_ready(draw(jax.random.key(0)))
    start = time.perf_counter()
    for number in range(1, 4):
        jax.block_until_ready(draw(jax.random.key(number)))
    return (time.perf_counter() - start) / 3 / BATCH


def _theirs() -> float:
    rng = np.random.default_rng(0)
    chi, relaxation = 0.1 * rng.standard_normal(SHAPE), 20 + rng.random(SHAPE)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        field = generate_field(chi)
        for echo in range(ECHOES):
            add_noise(generate_signal(field, TE=0.004 * (echo + 1), R2star=relaxation), peak_snr=100)
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
