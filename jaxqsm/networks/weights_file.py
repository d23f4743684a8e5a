"""Weights of networks as files, and as flat mappings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxqsm.networks.registry import build


def save_weights(
    path: Path, name: str, options: Mapping[str, Any], parameters: nnx.State, notes: Mapping[str, str]
) -> None:
    """Write weights as safetensors; the header says which network they are of, and ``notes``."""
    flat = {name: np.asarray(value) for name, value in flat_weights(parameters).items()}
    header = {"network": name, "options": json.dumps(dict(options), sort_keys=True), **notes}
    partial = path.with_name(path.name + ".partial")
    save_file(flat, partial, metadata=header)
    partial.replace(path)


def load_network(path: Path, network: Any = None) -> tuple[Any, dict[str, str]]:
    """Load the network of a weight file, and the file's notes.

    Args:
        path: of the file.
        network: that the weights are of. Default: the one of the registry that the file names.

    Raises:
        ValueError: not a weight file of ours, or of another shape than its network.
    """
    notes = read_notes(path)
    with safe_open(path, framework="numpy") as file:
        values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    options = json.loads(notes["options"])
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    try:
        if network is None:  # its shapes alone: random weights of a hundred megabytes take seconds to draw
            network = nnx.eval_shape(lambda: build(notes["network"], options))
        return with_weights(network, values), notes
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_notes(path: Path) -> dict[str, str]:
    """Read the notes of a weight file: its network's name and options, and how it came to be.

    Raises:
        ValueError: not a weight file of ours.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            notes = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as safetensors ({error})") from error
    if "network" not in notes:
        raise ValueError(f"{path}: does not say which network its weights are of")
    return notes


def flat_weights(state: nnx.State) -> dict[str, Any]:
    """List weights and running statistics by dotted name, without random states."""
    kept = nnx.filter_state(state, nnx.Not(nnx.RngState))
    return {
        ".".join(map(str, key)): value
        for key, value in nnx.traversals.flatten_mapping(nnx.to_pure_dict(kept)).items()
    }


def with_weights(network: Any, weights: Mapping[str, Any]) -> Any:
    """Set the weights of a network, named as by :func:`flat_weights`.

    Raises:
        ValueError: names or shapes are not those of the network; NaN or infinite values.
    """
    graph, kept, random = nnx.split(network, nnx.Not(nnx.RngState), ...)  # type: ignore[misc]
    wanted = nnx.traversals.flatten_mapping(nnx.to_pure_dict(kept))
    names = {".".join(map(str, key)): key for key in wanted}
    if set(names) != set(weights):
        odd = sorted(set(names) ^ set(weights))[0]
        raise ValueError(f"not the weights of {type(network).__name__} (see {odd})")
    for name, key in names.items():
        if not np.isfinite(np.asarray(weights[name], np.float32)).all():
            raise ValueError(f"{name} is NaN or infinite: its training diverged, or the file is damaged")
        if np.shape(weights[name]) != wanted[key].shape:
            has, needs = np.shape(weights[name]), wanted[key].shape
            raise ValueError(f"{name} has shape {has}, {type(network).__name__} needs {needs}")
    filled = {names[name]: jnp.asarray(value) for name, value in weights.items()}
    nnx.replace_by_pure_dict(kept, nnx.traversals.unflatten_mapping(filled))
    return nnx.merge(graph, kept, jax.tree.map(_drawn, random))


def _drawn(state: Any) -> Array:
    """A random state as it is, or a first one where a network has its shapes alone."""
    if not isinstance(state, jax.ShapeDtypeStruct):
        return state
    if jnp.issubdtype(state.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), state.shape)
    return jnp.zeros(state.shape, state.dtype)


def parameter_count(network: nnx.Module) -> int:
    """Count the learned values."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))
