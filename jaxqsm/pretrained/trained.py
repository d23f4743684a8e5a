"""Networks of weight files: loaded once, called on one scan."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxqsm.networks import as_network, load_network

WEIGHTS = Path(__file__).with_name("weights")
"""Folder of the weight files, each beside the model card that says how it came to be."""


def trained_network(checkpoint: str, *tasks: str, network: Any = None) -> tuple[Any, Any]:
    """Load graph and state of the network of a checkpoint.

    Args:
        checkpoint: name, or path that ends in ``.safetensors``.
        tasks: of which it must be.
        network: of one's own, a module or function. The checkpoint is then a path, or else the network has
            the weights already.

    Raises:
        ValueError: there are no such weights, or they are of another task.
    """
    if network is not None:
        network = as_network(network)
        if checkpoint.endswith(".safetensors"):
            network, _ = load_network(Path(checkpoint), network)
        network.eval()
        return nnx.split(network)
    path = checkpoint_path(checkpoint)
    return _loaded(path, path.stat().st_mtime_ns, tasks)


def checkpoint_path(checkpoint: str, base: Path = Path()) -> Path:
    """Find the weight file of a checkpoint: one that comes with the package, or a path relative to ``base``.

    Raises:
        ValueError: there is none.
    """
    own = checkpoint.endswith(".safetensors")
    path = base / checkpoint if own else WEIGHTS / f"{checkpoint}.safetensors"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in WEIGHTS.glob("*.safetensors")))
        raise ValueError(f"checkpoint {checkpoint}: no such file, nor one of {names}")
    return path


@functools.lru_cache
def _loaded(path: Path, changed: int, tasks: tuple[str, ...]) -> tuple[Any, Any]:
    # Even where the first call is traced, the weights are to be constants that later calls can use.
    with jax.ensure_compile_time_eval():
        network, notes = load_network(path)
        if notes.get("task", tasks[0]) not in tasks:
            raise ValueError(f"{path}: was trained for {notes['task']}, not for {tasks[0]}")
        network.eval()
        return nnx.split(network)


@functools.partial(jax.jit, static_argnums=(0, 1))
def call(graph: Any, name: str, parameters: Any, *scan: Any) -> Any:
    """Call a method of the network on one scan, by products of float32 unless JAX is told otherwise.

    By default a GPU or TPU rounds the factors of float32 products to TF32 or bfloat16; what model cards state
    was measured without. ``with jax.default_matmul_precision("bfloat16"):`` takes them for speed.
    """
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], scan)
    told = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    with jax.default_matmul_precision(told or "float32"):
        outcome = getattr(nnx.merge(graph, parameters), name)(*batch)
    return jax.tree.map(lambda leaf: leaf[0], outcome)
