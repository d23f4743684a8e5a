"""Networks by name, and their weights as files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxqsm.networks.unrolled import Unrolled, UnrolledConfig


@dataclasses.dataclass(frozen=True)
class Family:
    """A network and the configuration of its size."""

    module: Callable[..., nnx.Module]
    config: type


NETWORKS: Mapping[str, Family] = {
    "unrolled": Family(Unrolled, UnrolledConfig),
}
"""Networks by the names that configurations and weight files use."""


def build(name: str, options: Mapping[str, Any], *, seed: int = 0) -> Any:
    """A network with fresh weights.

    Raises:
        ValueError: unknown network or option.
    """
    if name not in NETWORKS:
        raise ValueError(f"network {name!r} is unknown; use one of {', '.join(NETWORKS)}")
    family = NETWORKS[name]
    known = {field.name for field in dataclasses.fields(family.config)}
    if not set(options) <= known:
        wrong = sorted(set(options) - known)[0]
        raise ValueError(f"network {name} has no option {wrong!r}; it has {', '.join(sorted(known))}")
    return family.module(family.config(**options), rngs=nnx.Rngs(seed))


def save_weights(
    path: Path, name: str, options: Mapping[str, Any], parameters: nnx.State, notes: Mapping[str, str]
) -> None:
    """Write weights as safetensors; the header says which network they are of, and ``notes``."""
    flat = {
        ".".join(map(str, key)): np.asarray(value)
        for key, value in nnx.traversals.flatten_mapping(nnx.to_pure_dict(parameters)).items()
    }
    header = {"network": name, "options": json.dumps(dict(options), sort_keys=True), **notes}
    partial = path.with_name(path.name + ".partial")
    save_file(flat, partial, metadata=header)
    partial.replace(path)


def load_network(path: Path) -> tuple[Any, dict[str, str]]:
    """The network of a weight file, and the file's notes.

    Raises:
        ValueError: not a weight file of ours, or of another shape than its network.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            notes = dict(file.metadata() or {})
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as safetensors ({error})") from error
    if "network" not in notes:
        raise ValueError(f"{path}: does not say which network its weights are of")
    options = json.loads(notes["options"])
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    network = nnx.eval_shape(lambda: build(notes["network"], options))
    graph, parameters = nnx.split(network)
    wanted = nnx.traversals.flatten_mapping(nnx.to_pure_dict(parameters))
    names = {".".join(map(str, key)): key for key in wanted}
    if set(names) != set(values):
        odd = sorted(set(names) ^ set(values))[0]
        raise ValueError(f"{path}: its weights are not those of {notes['network']} (see {odd})")
    for name, key in names.items():
        if values[name].shape != wanted[key].shape:
            raise ValueError(
                f"{path}: {name} has shape {values[name].shape}, {notes['network']} needs {wanted[key].shape}"
            )
    filled = {names[name]: jnp.asarray(value) for name, value in values.items()}
    nnx.replace_by_pure_dict(parameters, nnx.traversals.unflatten_mapping(filled))
    return nnx.merge(graph, parameters), notes


def parameter_count(network: nnx.Module) -> int:
    """Number of learned values."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))
