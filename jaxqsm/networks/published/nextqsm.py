"""NeXtQSM: background removal by a U-Net and inversion by a variational network, trained as one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.layers import centre_padded, centre_unpadded
from jaxqsm.networks.blocks.strided_u_net import StridedUNet
from jaxqsm.networks.network import Network
from jaxqsm.networks.published_weights import OBJECT, PublishedWeights, Weights
from jaxqsm.physics import dipole_convolve, dipole_kernel


@dataclasses.dataclass(frozen=True)
class NeXtQSMConfig:
    """Size of :class:`NeXtQSM`. Defaults are the published ones.

    Attributes:
        iterations: of the variational network. Default 6.
        channels: of the first level of either U-Net. Default 16.
        background_depth: halvings of the background's U-Net. Default 6.
        depth: halvings of the regulariser's. Default 5.
        strength: of the data term before training. Default 0.1, for patches of 64³ voxels; see
            :class:`NeXtQSM`.
    """

    iterations: int = 6
    channels: int = 16
    background_depth: int = 6
    depth: int = 5
    strength: float = 0.1


class NeXtQSM(Network):
    """Total field to local field by one U-Net; from there χ goes down a data term and a learned regulariser.

    Each step of χ is the gradient of strength · 100 |Dχ − local| / |local| + mean |R(χ)|, R a second U-Net
    that all steps share. Both energies are of the whole image, so a step grows as the image shrinks: a
    network is right for images of about the size that it was trained on.

    The images are centred on a grid whose lengths are multiples of 64 (2 to the larger depth), on which D is
    periodic and 1/3 at k = 0, as when the published weights were trained. Voxel size and field direction are
    those of the scan. Give it the total field in ppm as it is; a magnitude is not used.

    Args:
        config: its size.
        rngs: random state.

    References:
        Cognolato et al. 2023, Med Image Anal 84:102700, doi:10.1016/j.media.2022.102700; sizes and units as
        in its code, QSMxT/NeXtQSM.
    """

    def __init__(self, config: NeXtQSMConfig = NeXtQSMConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.background = StridedUNet(config.channels, config.background_depth, jax.nn.relu, rngs=rngs)
        self.regulariser = StridedUNet(config.channels, config.depth, jax.nn.relu, rngs=rngs)
        self.strengths = nnx.Param(jnp.full(config.iterations, config.strength))

    def __call__(
        self,
        total_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask. ``weights`` are not used."""
        inside = centre_padded(mask, self._multiple)
        local = self._local_field(total_field, mask)
        shape = local.shape[1:]
        kernels = jax.vmap(lambda g: dipole_kernel(shape, g).at[0, 0, 0].set(1 / 3))(geometry)
        convolve = jax.vmap(lambda chi, kernel: dipole_convolve(chi, kernel, shape))

        def energy(chi: Array, strength: Array) -> Array:
            misfit = _norm(local - convolve(chi, kernels)) / _norm(local)
            return jnp.sum(strength * 100 * misfit + self._roughness(chi))

        chi = local
        for strength in self.strengths[...]:
            chi = (chi - jax.grad(energy)(chi, strength)) * inside
        return centre_unpadded(chi, mask.shape[1:])

    def local_field(
        self, total_field: Float[Array, "batch x y z"], mask: Bool[Array, "batch x y z"]
    ) -> Float[Array, "batch x y z"]:
        """Predict the local field in ppm; zero outside the mask."""
        return centre_unpadded(self._local_field(total_field, mask), mask.shape[1:])

    def _local_field(self, total_field: Array, mask: Array) -> Float[Array, "batch X Y Z"]:
        total = centre_padded(total_field * mask, self._multiple)
        return self.background(total[..., None])[..., 0] * centre_padded(mask, self._multiple)

    def _roughness(self, chi: Float[Array, "batch X Y Z"]) -> Float[Array, batch]:
        return jnp.mean(jnp.abs(self.regulariser(chi[..., None])), axis=(1, 2, 3, 4))

    @property
    def _multiple(self) -> int:
        return int(2 ** max(self.config.background_depth, self.config.depth))


def _norm(images: Float[Array, "batch x y z"]) -> Float[Array, batch]:
    # Above zero, where its derivative is.
    return jnp.sqrt(jnp.sum(images**2, axis=(1, 2, 3)) + 1e-20)


KERAS = re.compile(
    r"(?P<net>(?:.*/)?(?:u_net|nets)/)?(?:.*/)?(?P<part>encoder|decoder|last_conv)"
    r"(?:/cnn(?:_(?P<number>\d+))?)?/.*vars/(?P<variable>[01])"
)
"""Names of variables in files of Keras 3, which number equal layers in the order in which they were made."""


def from_published(named: PublishedWeights) -> Weights:
    """Read the files of QSMxT/NeXtQSM: background removal, and ``nets``.

    Either two checkpoints of TensorFlow, or two of Keras (``.weights.h5``) and ``lambdas.npy``.
    """
    named = PublishedWeights({**named.weights, **_as_objects(named.weights)})

    def layer(theirs: str, ours: str, *, transposed: bool = False) -> Weights:
        kernel = named.object(f"{theirs}/parts/0/kernel")
        if transposed:
            # A transposed convolution of stride 2 is one of the spread image, with the kernel turned round.
            kernel = kernel[::-1, ::-1, ::-1].swapaxes(3, 4)
        return {f"{ours}.kernel": kernel, f"{ours}.bias": named.object(f"{theirs}/parts/0/bias")}

    found: Weights = {}
    for theirs, ours in (("", "background"), ("nets/", "regulariser")):
        found |= layer(f"{theirs}encoder/0", f"{ours}.enter") | layer(f"{theirs}last_conv", f"{ours}.leave")
        level = 0
        while named.has_object(f"{theirs}decoder/{level}/parts/0/kernel"):
            found |= layer(f"{theirs}encoder/{level + 1}", f"{ours}.downs.{level}")
            found |= layer(f"{theirs}decoder/{level}", f"{ours}.ups.{level}", transposed=True)
            level += 1
    strengths = [named.object("lambdas/0")]
    while named.has_object(f"lambdas/{len(strengths)}"):
        strengths.append(named.object(f"lambdas/{len(strengths)}"))
    return found | {"strengths": np.stack(strengths)}


def _as_objects(weights: Mapping[str, np.ndarray]) -> Weights:
    """Variables of Keras by the names that TensorFlow gives the same objects."""
    found: Weights = {}
    for name, value in weights.items():
        if match := KERAS.fullmatch(name):
            place = "" if match["part"] == "last_conv" else f"/{match['number'] or 0}"
            variable = ("kernel", "bias")[int(match["variable"])]
            net = "nets/" if match["net"] else ""
            found[f"{net}{match['part']}{place}/parts/0/{variable}{OBJECT}"] = value
    if "lambdas" in weights:
        found |= {f"lambdas/{n}{OBJECT}": value for n, value in enumerate(np.ravel(weights["lambdas"]))}
    return found
