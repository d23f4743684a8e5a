"""Single step from total field to susceptibility by a network."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import MaskedVolume
from jaxqsm.pretrained.trained import call, trained_network
from jaxqsm.variational.common import confidence, referenced


def learned_single_step(
    total_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    whole: bool = True,
    checkpoint: str = "learned_single_step",
) -> MaskedVolume:
    """Reconstruct χ from a total field with a network that corrects single-step total variation.

    Use it for fast maps of axial or oblique heads of 1 mm and coarser.

    Trained on simulated heads of 0.8 to 3 mm in any orientation, see
    ``pretrained/weights/learned_single_step.md``.

    Args:
        total_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where it is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        whole: give χ along the border too, as :func:`~jaxqsm.single_step.ss_tv` finds it there. It is the
            least certain part of the map. Default true.
        checkpoint: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote for the task ``single_step``. Default ``"learned_single_step"``.

    Returns:
        χ in ppm, zero mean in the mask that comes with it, zero outside: the given one, or, if not ``whole``,
        the part of it that the network corrects
        (:meth:`jaxqsm.networks.ours.single_step.SingleStep.valid`).

    Raises:
        ValueError: there are no such weights, or they are of another task.

    References:
        Chatnuntawech et al. 2017, NMR Biomed 30:e3570, doi:10.1002/nbm.3570 (single step);
        :class:`jaxqsm.networks.ours.single_step.SingleStep`.

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi, valid = learned_single_step(jnp.zeros(mask.shape), mask, Geometry())
        >>> chi.shape, valid.shape
        ((16, 16, 16), (16, 16, 16))
    """
    graph, parameters = trained_network(checkpoint, "single_step")
    inside = jnp.asarray(mask)
    chi = call(graph, "__call__", parameters, total_field, inside, geometry, confidence(weights, magnitude))
    network = nnx.merge(graph, parameters)
    (valid,) = network.valid(*jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (inside, geometry)))
    inside = inside & valid.any() if whole else valid
    return MaskedVolume(referenced(chi, inside), inside)
