"""Test-time adaptation: a trained network is fitted further, to the one scan at hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.fitting.descent import descend
from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.data_consistency import at_unit_size
from jaxqsm.networks.network import with_start
from jaxqsm.pretrained import trained_network
from jaxqsm.variational.common import confidence, referenced

LAST = "leave"
"""Name of the last layer of our U-Nets."""


def fine(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    key: PRNGKeyArray | None = None,
    checkpoint: str = "learned",
    whole: bool = False,
    weight: float = 1e-4,
    learning_rate: float = 1e-3,
    max_iterations: int = 20,
) -> Float[Array, "x y z"]:
    """Adapt the weights of a trained network to the misfit of one scan (FINE).

    Use it to adapt a network without physics, or one that sees an unusual scan.

    A network errs most on what its training lacked; the field of the scan itself says how. By default only
    the last layer moves, which is quick and cannot learn much noise. The steps that count end where held-out
    voxels are predicted worse.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        key: of the held-out voxels; default ``jax.random.key(0)``.
        checkpoint: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote. Default ``"learned"``.
        whole: move all weights instead of the last layer's: a pass forth and back a step. Default false.
        weight: of total variation besides, ppm · mm for a field of 0.02 ppm. Default 1e-4.
        learning_rate: of Adam. Default 1e-3.
        max_iterations: at most so many count. Default 20.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. ``learned`` agrees with the field by itself and gains
        nothing on scans like its training; FINE is for networks without physics, and for scans unlike their
        training.

    Raises:
        ValueError: there are no such weights, or their network has no layer that is named as our last ones.

    References:
        Zhang et al. 2020, NeuroImage 211:116579, doi:10.1016/j.neuroimage.2020.116579 (FINE).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = fine(jnp.zeros(mask.shape), mask, Geometry(), max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    graph, state = trained_network(checkpoint, "inversion")
    key = jax.random.key(0) if key is None else key

    def moves(path: tuple[Any, ...], _: Any) -> bool:
        return whole or LAST in map(str, path)

    moving, fixed = nnx.split_state(state, nnx.All(nnx.Param, moves), ...)
    if not jax.tree.leaves(moving):
        raise ValueError(f"checkpoint {checkpoint}: the network has no layer {LAST!r}; use whole=True")
    scan = jnp.asarray(local_field), jnp.asarray(mask), geometry, confidence(weights, magnitude)
    return _fitted(graph, moving, fixed, scan, key, weight, learning_rate, whole, max_iterations)


@partial(jax.jit, static_argnums=(0, 7, 8))
def _fitted(
    graph: Any,
    moving: nnx.State,
    fixed: nnx.State,
    scan: tuple[Any, ...],
    key: PRNGKeyArray,
    weight: float,
    learning_rate: float,
    whole: bool,
    max_iterations: int,
) -> Array:
    local_field, mask, geometry, weights = scan
    batch = jax.tree.map(lambda leaf: leaf[None], scan)
    data, scale = at_unit_size(local_field, mask, geometry, weights)
    inputs = with_start(nnx.merge(graph, moving, fixed), batch)

    def image(parameters: nnx.State) -> Array:
        return nnx.merge(graph, parameters, fixed)(*inputs)[0] / scale

    def changed(change: nnx.State, _: Array) -> Array:
        return image(jax.tree.map(jnp.add, moving, change))

    found = descend(
        changed,
        jax.tree.map(jnp.zeros_like, moving),
        data,
        mask,
        geometry,
        key,
        weight=weight,
        learning_rate=learning_rate,
        max_iterations=max_iterations,
    )
    return scale * referenced(found.chi, mask)
