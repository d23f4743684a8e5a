"""Zero-shot self-supervision: a network learns from one scan, by predicting held-out voxels."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.fitting.descent import descend, held_out
from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.data_consistency import at_unit_size
from jaxqsm.networks.network import with_start
from jaxqsm.pretrained import trained_network
from jaxqsm.variational.common import confidence, data_weights, referenced

SPLITS = 4
"""In how many ways voxels are divided into those that the network is given and those it must predict."""

PREDICTED = 0.3
"""Part of the voxels that it must predict."""


def zero_shot(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    key: PRNGKeyArray | None = None,
    checkpoint: str = "learned",
    weight: float = 1e-4,
    learning_rate: float = 3e-4,
    max_iterations: int = 40,
) -> Float[Array, "x y z"]:
    """Train a network further on one scan by predicting held-out voxels (zero-shot learning).

    Use it on scans unlike the network's training, where minutes may be spent.

    The network is given a part of the field, the rest having no weight, and its χ must predict that rest.
    Noise cannot be predicted, so unlike a fit to all voxels (:func:`~jaxqsm.fitting.fine`) this does not
    learn it. A tenth of the voxels is in neither part and says when to stop.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        key: of the splits; default ``jax.random.key(0)``.
        checkpoint: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote, of a network that weights its data by the magnitude. Default ``"learned"``.
        weight: of total variation besides, ppm · mm for a field of 0.02 ppm. Default 1e-4.
        learning_rate: of Adam. Default 3e-4.
        max_iterations: at most so many count, each a pass of the network forth and back. Default 40.

    Returns:
        χ in ppm, zero mean in the mask, zero outside: the adapted network's output from all voxels. On scans
        like its training it does not help.

    Raises:
        ValueError: there are no such weights, or they are of another task.

    References:
        Yaman, Hosseini & Akçakaya 2022, ICLR, doi:10.48550/arXiv.2102.07737 (ZS-SSL).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = zero_shot(jnp.zeros(mask.shape), mask, Geometry(), max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    graph, state = trained_network(checkpoint, "inversion")
    moving, fixed = nnx.split_state(state, nnx.Param, ...)
    key = jax.random.key(0) if key is None else key
    scan = jnp.asarray(local_field), jnp.asarray(mask), geometry, confidence(weights, magnitude)
    return _fitted(graph, moving, fixed, scan, key, weight, learning_rate, max_iterations)


@partial(jax.jit, static_argnums=(0, 7))
def _fitted(
    graph: Any,
    moving: nnx.State,
    fixed: nnx.State,
    scan: tuple[Any, ...],
    key: PRNGKeyArray,
    weight: float,
    learning_rate: float,
    max_iterations: int,
) -> Array:
    local_field, mask, geometry, weights = scan
    of_splits, of_unknown = jax.random.split(key)
    predicted = jax.random.uniform(of_splits, (SPLITS, *mask.shape)) < PREDICTED
    shown = ~predicted & ~held_out(of_unknown, mask)
    sure = data_weights(mask, weights)
    given = [
        jax.tree.map(lambda leaf: leaf[None], (local_field * part, mask, geometry, sure * part))
        for part in shown
    ]
    whole = jax.tree.map(lambda leaf: leaf[None], scan)
    network = nnx.merge(graph, moving, fixed)
    given = [with_start(network, batch) for batch in given]
    batches = jax.tree.map(lambda *leaves: jnp.stack(leaves), *given)
    data, scale = at_unit_size(local_field, mask, geometry, weights)

    def changed(change: nnx.State) -> Any:
        return nnx.merge(graph, jax.tree.map(jnp.add, moving, change), fixed)

    def image(change: nnx.State, number: Array) -> Array:
        return changed(change)(*jax.tree.map(lambda leaf: leaf[number], batches))[0] / scale

    found = descend(
        image,
        jax.tree.map(jnp.zeros_like, moving),
        data,
        mask,
        geometry,
        of_unknown,
        weight=weight,
        learning_rate=learning_rate,
        max_iterations=max_iterations,
        splits=predicted & mask,
    )
    return referenced(changed(found.parameters)(*whole)[0], mask)
