"""Standard deviation of a map by a network."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.pretrained.trained import call, trained_network
from jaxqsm.variational.common import confidence, referenced


def learned_standard_deviation(
    chi: Float[Array, "x y z"],
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    checkpoint: str = "learned_standard_deviation",
) -> Float[Array, "x y z"]:
    """Predict the standard deviation of the error of a map of χ with a network.

    Use it by default: seconds, for a map of any inversion, bias included.

    It counts noise, what the field does not determine, and the bias of regularisation, as they were in its
    training: simulated heads, see ``pretrained/weights/learned_standard_deviation.md``. The map may be of any
    inversion.

    Args:
        chi: the map, ppm, shape ``(x, y, z)``.
        local_field: ppm, that it was made from.
        mask: where both are valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        checkpoint: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote. Default ``"learned_standard_deviation"``.

    Returns:
        ppm, zero outside the mask. Its measured coverage is in the model card;
        for :func:`~jaxqsm.pretrained.learned`, whose errors are smaller than those of its training, the
        intervals are wide.

    Raises:
        ValueError: there are no such weights, or they give no standard deviation.

    References:
        Nix & Weigend 1994, IEEE ICNN 1:55, doi:10.1109/ICNN.1994.374138.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> field = jnp.full(mask.shape, 0.01)
        >>> learned_standard_deviation(0 * field, field, mask, Geometry()).shape
        (16, 16, 16)
    """
    graph, parameters = trained_network(checkpoint, "inversion")
    if not nnx.merge(graph, parameters).probabilistic:
        raise ValueError(f"checkpoint {checkpoint}: of a network that gives no deviation")
    inside = jnp.asarray(mask)
    scan = local_field, inside, geometry, confidence(weights, magnitude), referenced(chi, inside)
    return jnp.sqrt(call(graph, "posterior", parameters, *scan).variance) * inside
