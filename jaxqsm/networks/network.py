"""The protocol that inference, per-scan optimisation and training ask of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry


class VoxelwiseNormal(NamedTuple):
    """Independent normal distributions of the voxels: mean in ppm, variance in ppm²."""

    mean: Float[Array, "batch x y z"]
    variance: Float[Array, "batch x y z"]


class Network(nnx.Module):
    """A network on batches of scans: field to χ, total to local field, phase to unwrapped phase, ….

    Every network is called as ``network(field, mask, geometry, weights, start)`` and returns its map in ppm
    (or rad), zero outside the mask:

    - ``field``: ``(batch, x, y, z)``; local or total field in ppm, or wrapped phase in rad, by the network.
    - ``mask``: where the field is valid.
    - ``geometry``: voxel size and field direction, with a leading batch axis on both leaves.
    - ``weights``: optional confidence in the field of each voxel, any unit; default 1.
    - ``start``: that of :meth:`start` for the same arguments, of a network that begins at a classical
      method's map; default: computed anew.

    The methods below hold for every network and are overridden where a network does more; callers never ask
    what kind of network they have.

    Attributes:
        probabilistic: whether :meth:`posterior` is defined. Default false.
    """

    probabilistic: ClassVar[bool] = False

    def start(
        self,
        field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
        *second: Any,
    ) -> Any:
        """Compute the classical volumes at which the network begins; None (default) where it needs none.

        They depend on no learned weight, so that training and fits compute them once. ``second`` is another
        measurement, such as R2′; a network that does not begin at classical volumes takes it as it is.
        """
        return second[0] if second else None

    def valid(self, mask: Bool[Array, "batch x y z"], geometry: Geometry) -> Bool[Array, "batch x y z"]:
        """Mark the voxels whose output is valid. Default: the mask."""
        return mask

    def iterates(self, *inputs: Any) -> list[Float[Array, "batch x y z"]]:
        """List the outputs after every iteration, the last one being that of a call. Default: that one."""
        return [self(*inputs)]

    def posterior(self, *inputs: Any) -> VoxelwiseNormal:
        """Predict mean and variance of every voxel, of a network that is :attr:`probabilistic`.

        Raises:
            NotImplementedError: the network gives a single image.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no standard deviation")


class FunctionNetwork(Network):
    """A function of field, mask, geometry and weights, or a Flax NNX module called alike, as a network."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *inputs: Any) -> Float[Array, "batch x y z"]:
        """Call it."""
        return self.function(*inputs)


def as_network(network: Callable[..., Any]) -> Network:
    """Wrap a module or function that is not a :class:`Network`, with the defaults of its methods."""
    return network if isinstance(network, Network) else FunctionNetwork(network)


def with_start(
    network: Network, scan: tuple[Any, ...], inputs: tuple[Any, ...] | None = None
) -> tuple[Any, ...]:
    """Append the start of a network to its inputs, where it has one.

    Args:
        network: on a batch.
        scan: field, mask, geometry, weights: what the start is made of.
        inputs: to which it is appended. Default: ``scan``.
    """
    start = network.start(*scan)
    inputs = scan if inputs is None else inputs
    return inputs if start is None else (*inputs, start)
