"""Eight virtual devices, in a process of their own: ``python many_devices.py CASE`` prints figures as JSON.

With ``PROCESS PORT`` after the case it is one of two processes with four devices each.
"""

import json
import os
import re
import sys

CASE, *PROCESS = sys.argv[1:]
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={4 if PROCESS else 8}"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from jaxqsm import Geometry  # noqa: E402
from jaxqsm.background import v_sharp  # noqa: E402
from jaxqsm.distributed import device_mesh, over_scans, share  # noqa: E402
from jaxqsm.inversion import medi, tkd, tv  # noqa: E402
from jaxqsm.operators import crop  # noqa: E402
from jaxqsm.physics import dipole_field  # noqa: E402
from jaxqsm.single_step import ss_tv  # noqa: E402

SHAPE = (62 if CASE == "uneven" else 64, 50, 44)
if PROCESS:
    jax.distributed.initialize(f"localhost:{PROCESS[1]}", 2, int(PROCESS[0]))
GEOMETRY = Geometry((1.0, 1.2, 2.0), (0.1, 0.3, 0.95))
FUNCTIONS = {
    "dipole": lambda field, mask: dipole_field(field, GEOMETRY),
    "uneven": lambda field, mask: dipole_field(field, GEOMETRY),
    "tkd": lambda field, mask: tkd(field, mask, GEOMETRY),
    "tv": lambda field, mask: tv(field, mask, GEOMETRY, weight=1e-3, max_iterations=20),
    "medi": lambda field, mask: medi(
        field, mask, GEOMETRY, magnitude=1 + jnp.abs(field), weight=1e-3, max_iterations=5
    ),
    "ss_tv": lambda field, mask: ss_tv(field, mask, GEOMETRY, weight=1e-3, max_iterations=5)[0],
    "v_sharp": lambda field, mask: v_sharp(field, mask, GEOMETRY)[0],
    "chosen_weight": lambda field, mask: tv(field, mask, GEOMETRY),
    "gradient": lambda field, mask: jax.grad(
        lambda field: jnp.sum(tv(field, mask, GEOMETRY, weight=1e-3, max_iterations=10) ** 2)
    )(field),
}


def scan() -> tuple[np.ndarray, np.ndarray]:
    """A noisy local field and its mask."""
    rng = np.random.default_rng(0)
    where = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    mask = (where**2).sum(0) < 0.7
    chi = (0.1 * np.sin(6 * where[0]) * np.cos(5 * where[1] * where[2]) * mask).astype(np.float32)
    field = np.asarray(dipole_field(jnp.asarray(chi), GEOMETRY))
    return (field + 1e-3 * rng.standard_normal(SHAPE).astype(np.float32)) * mask, mask


def gathered(compiled) -> int:
    """Elements of the largest array that is gathered on every device."""
    shapes = re.findall(r"= \w+\[([\d,]*)\]\S* all-gather\(", compiled.as_text())
    return max((int(np.prod([int(n) for n in shape.split(",")])) for shape in shapes if shape), default=0)


def compare(alone, together, arguments, *, groups: int = 1) -> dict[str, float]:
    """Run on one device and on all; say how the results differ, and what each device holds."""
    one = jax.jit(alone).lower(*arguments).compile()
    expected = np.asarray(one(*arguments))
    mesh = device_mesh(scans=groups)
    with jax.set_mesh(mesh):
        shared = share(arguments, mesh, scans=expected.ndim == 4)
        many = jax.jit(together).lower(*shared).compile()
        result = np.asarray(crop(many(*shared), SHAPE))
    used = [
        (m.temp_size_in_bytes + m.argument_size_in_bytes)
        for m in (one.memory_analysis(), many.memory_analysis())
    ]
    return {
        "error": float(np.linalg.norm(result - expected) / np.linalg.norm(expected)),
        "gathered": gathered(many) / np.prod(SHAPE),
        "memory": 8 * used[1] / used[0],
    }


def among_scans(groups: int) -> dict[str, float]:
    """Eight scans that groups of devices take."""
    field, mask = scan()
    arguments = np.stack([field * (1 + i) for i in range(8)]), np.stack([mask] * 8)
    return compare(jax.vmap(FUNCTIONS["tv"]), over_scans(FUNCTIONS["tv"]), arguments, groups=groups)


def in_two_processes() -> dict[str, float]:
    """One volume on the devices of two processes: each checks what its own devices hold."""
    mesh = device_mesh()
    arguments = scan()
    with jax.default_device(jax.local_devices()[0]):
        expected = np.asarray(jax.jit(FUNCTIONS["tv"])(*arguments))
    with jax.set_mesh(mesh):
        result = jax.jit(FUNCTIONS["tv"])(*share(arguments, mesh))
    worst = max(
        float(np.abs(np.asarray(shard.data)[: len(rows)] - rows).max())
        for shard in result.addressable_shards
        if len(rows := expected[shard.index[0]])
    )
    return {"devices": mesh.size, "error": worst / float(np.abs(expected).max())}


if __name__ == "__main__":
    if PROCESS:
        print(json.dumps(in_two_processes()))
    elif CASE.startswith("scans"):
        print(json.dumps(among_scans(int(CASE.removeprefix("scans")))))
    else:
        print(json.dumps(compare(FUNCTIONS[CASE], FUNCTIONS[CASE], scan())))
