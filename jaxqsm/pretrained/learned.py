"""Dipole inversion by the unrolled network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.pretrained.trained import call, trained_network
from jaxqsm.variational.common import confidence, referenced


def learned(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    checkpoint: str = "learned",
    network: Callable[..., Any] | None = None,
) -> Float[Array, "x y z"]:
    """Invert with an unrolled network between the physics of the scan (MoDL), from two TV inversions.

    Use it for the most accurate maps of scans like its training: human heads of 0.3 to 2 mm.

    Trained on simulated heads of 0.3 to 2 mm in any orientation, see ``pretrained/weights/learned.md``.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        checkpoint: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote. Default ``"learned"``.
        network: of one's own in place of the checkpoint's: a :class:`~jaxqsm.networks.Network`, or a Flax NNX
            module or function of field, mask, geometry and weights, each with a batch axis. It has its
            weights, or those of a ``checkpoint`` that is a path.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. Differentiable in reverse mode, through the
        iterations of the classical inversions too.

    Raises:
        ValueError: there are no such weights, or they are of another task than inversion.

    References:
        Aggarwal, Mani & Jacob 2019, IEEE TMI 38:394, doi:10.1109/TMI.2018.2865356;
        :class:`jaxqsm.networks.ours.unrolled.Unrolled`.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = learned(jnp.zeros(mask.shape), mask, Geometry())
        >>> chi.shape
        (16, 16, 16)
    """
    graph, parameters = trained_network(checkpoint, "inversion", network=network)
    chi = call(graph, "__call__", parameters, local_field, mask, geometry, confidence(weights, magnitude))
    return referenced(chi, jnp.asarray(mask))
