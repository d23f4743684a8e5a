"""Phase unwrapping by a network."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.pretrained.trained import call, trained_network


def learned_unwrapping(
    wrapped: Float[Array, "x y z *echo"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z *echo"] | None = None,
    checkpoint: str = "learned_unwrapping",
) -> Float[Array, "x y z *echo"]:
    """Unwrap phase with a network that corrects least squares, to exact 2π multiples (PHU-NET).

    Use it in place of ``laplacian`` where exact turns matter, and where region growing is too slow.

    Trained on simulated heads of 0.5 to 2 mm in any orientation, see
    ``pretrained/weights/learned_unwrapping.md``. :func:`~jaxqsm.unwrapping.romeo` counts fewer turns wrongly.

    Args:
        wrapped: phase in rad; echoes are unwrapped one by one.
        mask: where phase is meaningful; its parts should touch, as the constant is one for all.
        geometry: voxel size and field direction.
        magnitude: optional, of the same shape, any unit; dark voxels have less weight.
        checkpoint: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote for the task ``unwrapping``. Default ``"learned_unwrapping"``.

    Returns:
        Unwrapped phase in rad, the input plus 2π multiples, zero outside the mask.

    Raises:
        ValueError: there are no such weights, or they are of another task.

    References:
        Zhou et al. 2021, MRM 86:3321, doi:10.1002/mrm.28927 (PHU-NET);
        :class:`jaxqsm.networks.published.phu_net.PHUNet`.

    Example:
        >>> phase = jnp.broadcast_to(jnp.linspace(0, 20, 16), (16, 16, 16))
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> unwrapped = learned_unwrapping(jnp.angle(jnp.exp(1j * phase)), mask, Geometry())
        >>> bool(jnp.ptp(unwrapped) > 19)
        True
    """
    graph, parameters = trained_network(checkpoint, "unwrapping")
    inside = jnp.asarray(mask)
    amplitude = None if magnitude is None else jnp.abs(magnitude)
    echoes = jax.tree.map(lambda v: jnp.moveaxis(v.reshape(*mask.shape, -1), -1, 0), (wrapped, amplitude))

    def unwrap(echo: tuple[Array, Array | None]) -> Array:
        return call(graph, "unwrap", parameters, echo[0], inside, geometry, echo[1])

    # One echo after another: memory is that of one.
    unwrapped = jax.lax.map(unwrap, echoes)
    return jnp.moveaxis(unwrapped, 0, -1).reshape(wrapped.shape)
