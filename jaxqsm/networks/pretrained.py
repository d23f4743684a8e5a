"""Networks with the weights that come with the package, as plain functions."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.inversion.common import referenced
from jaxqsm.networks.catalogue import load_network

WEIGHTS = Path(__file__).with_name("weights")
"""Folder of the weight files, each beside the model card that says how it came to be."""


def learned(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: str = "learned",
) -> Float[Array, "x y z"]:
    """The unrolled network that we recommend: total variation, then learned images and physics in turn.

    Trained on simulated heads of 0.3 to 2 mm in any orientation, see ``networks/weights/learned.md``.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional, any unit; voxels count by it.
        weights: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote. Default ``"learned"``.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Differentiable in reverse mode; what goes through
        total variation is the implicit derivative of its converged solution, while 40 iterations are done.

    Raises:
        ValueError: there are no such weights, or they are of another task than inversion.

    References:
        Aggarwal, Mani & Jacob 2019, IEEE TMI 38:394, doi:10.1109/TMI.2018.2865356;
        :class:`jaxqsm.networks.Unrolled`.
    """
    path = Path(weights) if weights.endswith(".safetensors") else WEIGHTS / f"{weights}.safetensors"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in WEIGHTS.glob("*.safetensors")))
        raise ValueError(f"weights {weights}: no such file, nor one of {names}")
    graph, parameters = _network(path, path.stat().st_mtime_ns, "inversion")
    scan = local_field, mask, geometry, magnitude
    chi = _call(graph, parameters, jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], scan))[0]
    return referenced(chi, jnp.asarray(mask))


@functools.lru_cache
def _network(path: Path, changed: int, task: str) -> tuple[Any, Any]:
    # Even where the first call is traced, the weights are to be constants that later calls can use.
    with jax.ensure_compile_time_eval():
        network, notes = load_network(path)
        if notes.get("task", task) != task:
            raise ValueError(f"{path}: was trained for {notes['task']}, not for {task}")
        network.eval()
        return nnx.split(network)


@functools.partial(jax.jit, static_argnums=0)
def _call(graph: Any, parameters: Any, batch: tuple[Any, ...]) -> Array:
    return nnx.merge(graph, parameters)(*batch)
