"""Show that a change of the code changes no number: digests of every method on one fixed scan.

Run it before the change and after, on the same machine:

    python -m tools.fingerprints --write before.json
    python -m tools.fingerprints --against before.json

Every method of the registry, every network with fresh weights, the simulator and the pipeline are called with
arguments that follow from their parameters' names. Iterations are few: equal bits after three are equal bits.
Methods that were not there before are named; a method that differs or is gone makes the exit code 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxqsm import Acquisition, Geometry
from jaxqsm.inversion import tv
from jaxqsm.methods import COMMANDS, METHODS
from jaxqsm.networks import NETWORKS, build
from jaxqsm.phantoms import head
from jaxqsm.physics import dipole_field
from jaxqsm.pipeline import Config, reconstruct
from jaxqsm.simulation import patch_stream, simulate_scan

SHAPE = (32, 28, 24)
COUNTS = {
    "max_iterations",
    "start_iterations",
    "samples",
    "levels",
    "burn_in",
}
"""Names of options that count steps, of which :data:`FEW` are done."""
ECHOES = ("unwrapping", "phase_offset", "field_mapping", "relaxometry")
FEW = 3
SMALL: dict[str, dict[str, Any]] = {
    "amp_pe": {"levels": 2},
}
"""Options of single methods."""


CONFIGS = {
    "default": Config(),
    "two_stage": Config(inversion="tv", background="v_sharp"),
    "two_pass": Config(inversion="tkd", background="pdf", two_pass=True),
    "uncertainty": Config(inversion="tikhonov", background="sharp", uncertainty="noise_propagation"),
    "laplacian": Config(unwrapping="laplacian", phase_offset="none", single_step="tgv_qsm"),
}
"""Pipelines with a digest."""


def scan() -> dict[str, Any]:
    """Arrays by the names of the parameters that take them."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.8
    chi = np.where((x - 0.2) ** 2 + y**2 + z**2 < 0.1, 0.1, 0) + 0.02 * np.sin(5 * y) * np.cos(4 * z)
    geometry = Geometry((1.0, 1.1, 1.3), (0.1, 0.2, 0.97))
    acquisition = Acquisition((0.004, 0.008, 0.012), 3.0)
    exact = np.asarray(dipole_field(jnp.asarray(chi * mask, jnp.float32), geometry))
    measured = (exact + 0.001 * rng.standard_normal(SHAPE)).astype(np.float32)
    spoiled = (measured + 0.02 * x + 0.03 * y * z).astype(np.float32)
    magnitude = ((1 + 0.3 * np.cos(3 * x)) * (0.05 + mask)).astype(np.float32)
    times = np.asarray(acquisition.echo_times)
    ramp = 2 * np.pi * 127.7 * times
    echoes = (magnitude[..., None] * np.exp(-20 * times)).astype(np.float32)
    phase = (spoiled[..., None] * ramp + 0.3 * x[..., None]).astype(np.float32)
    signal = (echoes * np.exp(1j * phase)).astype(np.complex64)
    inside, local, total = (jnp.asarray(v) for v in (mask, measured * mask, spoiled * mask))
    directions = (
        (0, 0, 1),
        (0.4, 0, 0.9),
        (0, 0.5, 0.9),
        (0.5, 0.5, 0.7),
        (0.6, -0.3, 0.7),
        (-0.3, 0.6, 0.7),
    )
    turned = [Geometry((1.0, 1.1, 1.3), direction) for direction in directions]
    return {
        "mask": inside,
        "chi": jnp.asarray(chi * mask, jnp.float32),
        "local_field": local,
        "total_field": total,
        "geometry": geometry,
        "acquisition": acquisition,
        "magnitude": jnp.asarray(magnitude * mask),
        "image": jnp.asarray(magnitude),
        "echo_times": acquisition.echo_times,
        "signal": jnp.asarray(signal),
        "wrapped": jnp.asarray(np.angle(signal)),
        "phase": jnp.asarray(phase),
        "unwrapped": jnp.asarray(phase),
        "unwrapped_difference": jnp.asarray(phase[..., 1] - phase[..., 0]),
        "r2prime": jnp.asarray(10 * mask, jnp.float32),
        "noise": jnp.full(SHAPE, 0.001, jnp.float32),
        "key": jax.random.key(0),
        "local_fields": jnp.stack([local * (1 - 0.1 * k) for k in range(6)]),
        "geometries": jax.tree.map(lambda *leaves: jnp.stack(leaves), *turned),
        "affine": jnp.eye(4),
        "echoes": jnp.asarray(echoes),
    }


def arguments(function: Callable[..., Any], data: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """What of the scan a method takes, and few iterations."""
    chosen = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "magnitude":
            # Unwrapping, relaxometry and fits take the echoes; the others an image.
            several = "unwrapped" in inspect.signature(function).parameters or stage in ECHOES
            chosen[name] = data["echoes"] if several else data["magnitude"]
        elif name in ("phase", "unwrapped") and stage in ("swi", "mask"):
            chosen[name] = data["phase"] if stage == "mask" or name == "unwrapped" else data["phase"][..., 0]
        elif name in COUNTS:
            chosen[name] = FEW
        elif name == "method":
            chosen[name] = tv
        elif name in data and (parameter.default is parameter.empty or name in ("key", "echo_times")):
            chosen[name] = data[name]
        elif name in ("radius", "smv_radius") and parameter.default:
            chosen[name] = 3.0
        elif name in ("radii", "standard_deviations") and parameter.default:
            chosen[name] = (6.0, 4.0, 2.0)
        elif name == "erosion" and parameter.default:
            chosen[name] = 1.0
        elif name == "order":
            chosen[name] = 2
    return chosen


def works(data: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Name and call of everything that has a digest."""
    for stage, methods in {**METHODS, **COMMANDS}.items():
        for name, method in methods.items():
            if name not in ("deepbet", "minimum_intensity"):
                given = arguments(method.function, data, stage) | SMALL.get(name, {})
                yield f"{stage}.{name}", partial(method.function, **given)
    batch = jax.tree.map(lambda leaf: leaf[None], (data["local_field"], data["mask"], data["geometry"]))
    for name, family in NETWORKS.items():
        if family.task != "separation":
            yield f"network.{name}", partial(called, name, batch)
    scanned = data["signal"], data["mask"], data["geometry"], data["acquisition"]
    for name, config in CONFIGS.items():
        yield f"pipeline.{name}", partial(reconstruct, *scanned, config)
    yield "simulated.head", simulated


def called(name: str, batch: Any) -> Any:
    """Output of a small network with fresh weights."""
    return build(name, NETWORKS[name].small, seed=0)(*batch)


def simulated() -> Any:
    """The head phantom, its scan, and a training patch."""
    geometry, acquisition = Geometry((4.0, 4.0, 4.0), (0.0, 0.3, 0.95)), Acquisition((0.004, 0.012), 3.0)
    phantom = head((4.0, 4.0, 4.0))
    scanned = simulate_scan(phantom, geometry, acquisition, key=jax.random.key(0))
    patch = patch_stream((16, 16, 16))(jax.random.key(1))
    return dataclasses.asdict(phantom), dataclasses.asdict(scanned), patch


def digest(found: Any) -> str:
    """Digest of the arrays of a result, in order."""
    collected = hashlib.sha256()
    for leaf in jax.tree.leaves(found):
        array = np.asarray(leaf)
        collected.update(f"{array.dtype}{array.shape}".encode())
        collected.update(np.ascontiguousarray(array).tobytes())
    return collected.hexdigest()[:16]


def main() -> int:
    """Write digests, or compare with written ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--only", default="", help="names that contain this")
    chosen = parser.parse_args()
    found = {}
    before = json.loads(chosen.against.read_text()) if chosen.against else {}
    for name, work in works(scan()):
        if chosen.only not in name:
            continue
        try:
            found[name] = digest(work())
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"[:200]
        same = "" if name not in before else "same" if before[name] == found[name] else "DIFFERS"
        print(f"{name:40s} {found[name]} {same}", flush=True)
        jax.clear_caches()
    if chosen.write:
        chosen.write.write_text(json.dumps(found, indent=1) + "\n")
    wanted = {name for name in before if chosen.only in name}
    differing = sorted(name for name in wanted if found.get(name) != before[name])
    print(f"{len(found)} digests; {len(wanted) - len(differing)} of {len(wanted)} equal; {differing}")
    return bool(differing)


if __name__ == "__main__":
    sys.exit(main())
