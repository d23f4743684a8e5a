"""``python -m benchmarks.distributed``: one volume on eight devices, and a plan for a whole brain at 0.25 mm.

Eight virtual devices of the CPU give the error and the memory of each device against one device's, at 128³.
For 700³ the programs are compiled, not run: memory and bytes moved are the compiler's, the times are what
these bytes take at the bandwidths that makers publish. Writes ``results/distributed.md``.
"""

from __future__ import annotations

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array

from benchmarks.record import write_page
from jaxqsm import Geometry
from jaxqsm.background import v_sharp
from jaxqsm.distributed import device_mesh, share
from jaxqsm.inversion import medi, tkd, tv
from jaxqsm.operators import fast_shape
from jaxqsm.physics import dipole_field
from jaxqsm.single_step import ss_tv
from jaxqsm.variational.common import padded_shape

SMALL = 128
WHOLE = 700
GEOMETRY = Geometry((0.25, 0.25, 0.25), (0.0, 0.2, 0.98))

BANDWIDTHS = {"v5e-8": (16, 819, 200), "8 × H100": (80, 3350, 450)}
"""Memory of a device in GB, its bandwidth, and that to other devices, GB/s, as Google and NVIDIA publish them
(one direction)."""

Method = Callable[[Array, Array], Array]

METHODS: dict[str, tuple[Method, int]] = {
    "dipole": (lambda field, mask: dipole_field(field, GEOMETRY), 2),
    "tkd": (lambda field, mask: tkd(field, mask, GEOMETRY), 2),
    "tv": (lambda field, mask: tv(field, mask, GEOMETRY, weight=1e-3), 4),
    "medi": (lambda field, mask: medi(field, mask, GEOMETRY, magnitude=1 + field**2, weight=1e-3), 4),
    "ss_tv": (lambda field, mask: ss_tv(field, mask, GEOMETRY, weight=1e-3)[0], 0),
    "v_sharp": (lambda field, mask: v_sharp(field, mask, GEOMETRY)[0], 0),
}
"""Functions, and the Fourier transforms of one of their iterations, where it is a fixed number."""


def main() -> None:
    """Compare at 128³, plan at 700³, write the page."""
    mesh = device_mesh()
    measured, planned = [], []
    for name, (method, transforms) in METHODS.items():
        measured.append(_measured(name, method, mesh))
        print(measured[-1], file=sys.stderr, flush=True)
        planned.append(_planned(name, method, transforms, mesh))
        print(planned[-1], file=sys.stderr, flush=True)
    head = "| method | error | memory of a device × 8 / of one |\n| --- | --- | --- |"
    devices = " | ".join(
        f"{name} of {memory} GB: iteration, ms" for name, (memory, _, _) in BANDWIDTHS.items()
    )
    plan = (
        "| method | memory of a device, GB | exchanged an iteration, GB | " + devices + " |\n"
        "| --- | --- | --- |" + " --- |" * len(BANDWIDTHS)
    )
    grid = " × ".join(map(str, padded_shape((WHOLE,) * 3)))
    free = " × ".join(map(str, fast_shape((WHOLE,) * 3, WHOLE)))
    write_page(
        "distributed",
        "Volumes that eight devices share",
        "python -m benchmarks.distributed",
        f"## Measured: {SMALL}³ on eight virtual devices of the CPU\n",
        "Error: greatest difference over the greatest value, against one device.\n",
        "\n".join([head, *measured]) + "\n",
        f"## Planned: {WHOLE}³, a whole brain at 0.25 mm\n",
        f"The grid of inversions is {grid}, that of the dipole in free space {free}. Memory is what the "
        "compiler allots a device, arguments and results with it. Each transform sends half a spectrum once. "
        "Times are floors, computed and not measured: bytes that the compiler counts, a loop's body "
        "once, at the memory's bandwidth, and bytes exchanged at that of the links.\n",
        "\n".join([plan, *planned]) + "\n",
    )


def _measured(name: str, method: Method, mesh: Any) -> str:
    shape = (SMALL,) * 3
    where = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    mask = (where**2).sum(0) < 0.7
    chi = (0.1 * np.sin(6 * where[0]) * np.cos(5 * where[1] * where[2]) * mask).astype(np.float32)
    arguments = np.asarray(dipole_field(jnp.asarray(chi), GEOMETRY)) * mask, mask
    one = jax.jit(method).lower(*arguments).compile()
    expected = np.asarray(one(*arguments))
    with jax.set_mesh(mesh):
        shared = share(arguments, mesh)
        many = jax.jit(method).lower(*shared).compile()
        result = np.asarray(many(*shared))
    error = np.abs(result - expected).max() / np.abs(expected).max()
    return f"| `{name}` | {error:.1e} | {8 * _bytes(many) / _bytes(one):.2f} |"


def _planned(name: str, method: Method, transforms: int, mesh: Any) -> str:
    sharding = NamedSharding(mesh, PartitionSpec("space"))
    length = -(-WHOLE // 8) * 8
    field = jax.ShapeDtypeStruct((length, WHOLE, WHOLE), jnp.float32, sharding=sharding)
    mask = jax.ShapeDtypeStruct(field.shape, jnp.bool_, sharding=sharding)
    with jax.set_mesh(mesh):
        many = jax.jit(method, out_shardings=sharding).lower(field, mask).compile()
    x, y, z = fast_shape(field.shape, field.shape) if name == "dipole" else padded_shape(field.shape)
    rows = field.shape[0] if transforms == 2 else x  # the first axis is not yet padded where it is exchanged
    exchanged = transforms * 8 * rows * y * (z // 2 + 1) / 8 * 7 / 8 / 1e9
    costs: Any = many.cost_analysis()
    accessed = costs["bytes accessed"] / 1e9
    times = [
        f"{1e3 * (accessed / memory + exchanged / links):.0f}" if transforms else ""
        for _, memory, links in BANDWIDTHS.values()
    ]
    sent = f"{exchanged:.1f}" if transforms else ""
    return f"| `{name}` | {_bytes(many) / 1e9:.1f} | {sent} | " + " | ".join(times) + " |"


def _bytes(compiled: Any) -> int:
    used = compiled.memory_analysis()
    total: int = used.temp_size_in_bytes + used.argument_size_in_bytes + used.output_size_in_bytes
    return total


if __name__ == "__main__":
    main()
