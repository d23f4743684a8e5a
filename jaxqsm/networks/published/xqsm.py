"""xQSM: a U-Net of octave convolutions, which carries a fine and a coarse image side by side."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.networks.blocks.layers import (
    Convolution,
    TransposedConvolution,
    max_pool,
    mean_pool,
    pad_to_multiple,
    unpad,
)
from jaxqsm.networks.network import Network
from jaxqsm.networks.published_weights import PublishedWeights, Weights

Pair = tuple[Array, Array]
"""Fine images, and coarse ones of half their lengths."""


@dataclasses.dataclass(frozen=True)
class XQSMConfig:
    """Size of :class:`XQSM`, by default as published.

    Attributes:
        channels: of the first level, half of them fine and half coarse. Default 64.
        depth: number of halvings. Default 2.
    """

    channels: int = 64
    depth: int = 2


class XQSM(Network):
    """Local field to χ, both in ppm: the network adds to its input what makes it χ.

    It does not know of voxel size and field direction: it is right for scans like those it was trained on.

    Args:
        config: its size.
        rngs: random state.

    References:
        Gao et al. 2021, NMR Biomed 34:e4461, doi:10.1002/nbm.4461 (xQSM);
        Chen et al. 2019, ICCV, doi:10.1109/ICCV.2019.00353 (octave convolution).
    """

    def __init__(self, config: XQSMConfig = XQSMConfig(), *, rngs: nnx.Rngs) -> None:
        self.config = config
        widths = [config.channels * 2**level for level in range(config.depth)]

        def twice(channels: int, between: int, out: int) -> nnx.List:
            return nnx.List([_Octave(channels, between, rngs=rngs), _Octave(between, out, rngs=rngs)])

        self.split = _Split(widths[0], rngs=rngs)
        self.enter = _Octave(widths[0], widths[0], rngs=rngs)
        self.encoders = nnx.List(
            [twice(a, b, b) for a, b in zip([widths[0], *widths[:-1]], widths, strict=True)]
        )
        self.bottom = twice(widths[-1], 2 * widths[-1], widths[-1])
        falling = widths[::-1]
        self.ups = nnx.List([_Up(width, rngs=rngs) for width in falling])
        self.decoders = nnx.List(
            [twice(2 * a, a, b) for a, b in zip(falling, [*falling[1:], falling[-1]], strict=True)]
        )
        self.leave = _Join(widths[0], rngs=rngs)

    def __call__(
        self,
        local_field: Float[Array, "batch x y z"],
        mask: Bool[Array, "batch x y z"],
        geometry: Geometry | None = None,
        weights: Float[Array, "batch x y z"] | None = None,
    ) -> Float[Array, "batch x y z"]:
        """Reconstruct χ in ppm, zero outside the mask. ``geometry`` and ``weights`` are not used."""
        field = local_field * mask
        images = pad_to_multiple(field[..., None], 2 ** (self.config.depth + 1))
        pair = self.enter(self.split(images))
        kept = []
        for first, second in self.encoders:
            pair = second(first(pair))
            kept.append(pair)
            pair = max_pool(pair[0]), max_pool(pair[1])
        first, second = self.bottom
        pair = second(first(pair))
        for up, (first, second), skip in zip(self.ups, self.decoders, reversed(kept), strict=True):
            fine, coarse = up(pair)
            joined = jnp.concatenate([fine, skip[0]], axis=-1), jnp.concatenate([coarse, skip[1]], axis=-1)
            pair = second(first(joined))
        return (unpad(self.leave(pair) + images, mask.shape[1:])[..., 0]) * mask


def _norm(channels: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)


class _Split(nnx.Module):
    """From one image to a pair."""

    def __init__(self, out: int, *, rngs: nnx.Rngs) -> None:
        self.fine = Convolution(1, out // 2, rngs=rngs)
        self.coarse = Convolution(1, out // 2, rngs=rngs)
        self.fine_norm, self.coarse_norm = _norm(out // 2, rngs), _norm(out // 2, rngs)

    def __call__(self, images: Array) -> Pair:
        fine = self.fine_norm(self.fine(images))
        return jax.nn.relu(fine), jax.nn.relu(self.coarse_norm(self.coarse(mean_pool(images))))


class _Octave(nnx.Module):
    """Convolutions within and between the two images of a pair."""

    def __init__(self, channels: int, out: int, *, rngs: nnx.Rngs) -> None:
        half, half_out = channels // 2, out // 2
        self.fine = Convolution(half, half_out, rngs=rngs)
        self.coarse = Convolution(half, half_out, rngs=rngs)
        self.fine_to_coarse = Convolution(half, half_out, rngs=rngs)
        self.coarse_to_fine = Convolution(half, half_out, rngs=rngs)
        self.up = TransposedConvolution(half_out, half_out, rngs=rngs)
        self.fine_norm, self.coarse_norm = _norm(half_out, rngs), _norm(half_out, rngs)
        self.fine_to_coarse_norm, self.coarse_to_fine_norm = _norm(half_out, rngs), _norm(half_out, rngs)

    def __call__(self, pair: Pair) -> Pair:
        fine, coarse = pair
        finer = self.fine_norm(self.fine(fine))
        finer = finer + self.coarse_to_fine_norm(self.up(self.coarse_to_fine(coarse)))
        coarser = self.coarse_norm(self.coarse(coarse))
        coarser = coarser + self.fine_to_coarse_norm(self.fine_to_coarse(mean_pool(fine)))
        return jax.nn.relu(finer), jax.nn.relu(coarser)


class _Up(nnx.Module):
    """A pair of twice the lengths."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        half = channels // 2
        self.fine = TransposedConvolution(half, half, rngs=rngs)
        self.coarse_to_fine = TransposedConvolution(half, half, factor=4, rngs=rngs)
        self.coarse = TransposedConvolution(half, half, rngs=rngs)
        self.fine_to_coarse = Convolution(half, half, rngs=rngs)
        self.fine_norm, self.coarse_norm = _norm(half, rngs), _norm(half, rngs)

    def __call__(self, pair: Pair) -> Pair:
        fine, coarse = pair
        finer = self.fine_norm(self.fine(fine) + self.coarse_to_fine(coarse))
        # The fine images are now of the lengths that the coarse ones are to have.
        coarser = self.coarse_norm(self.coarse(coarse) + self.fine_to_coarse(fine))
        return jax.nn.relu(finer), jax.nn.relu(coarser)


class _Join(nnx.Module):
    """From a pair to one image."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        half = channels // 2
        self.fine = Convolution(half, channels, rngs=rngs)
        self.coarse = Convolution(half, channels, rngs=rngs)
        self.up = TransposedConvolution(channels, channels, rngs=rngs)
        self.fine_norm, self.coarse_norm = _norm(channels, rngs), _norm(channels, rngs)
        self.last = Convolution(channels, 1, size=1, rngs=rngs)

    def __call__(self, pair: Pair) -> Array:
        fine, coarse = pair
        joined = self.fine_norm(self.fine(fine)) + self.coarse_norm(self.up(self.coarse(coarse)))
        return self.last(jax.nn.relu(joined))


def from_published(named: PublishedWeights) -> Weights:
    """Read the weights of the authors' PyTorch file (sunhongfu/deepMRI)."""

    def octave(theirs: str, ours: str) -> Weights:
        parts = {"HH": "fine", "LL": "coarse", "HL": "fine_to_coarse", "LH": "coarse_to_fine"}
        found = named.torch_layer(f"{theirs}.up", f"{ours}.up", transposed=True)
        for there, here in parts.items():
            found |= named.torch_layer(f"{theirs}.conv{there}", f"{ours}.{here}")
            found |= named.torch_norm(f"{theirs}.BN_{there}", f"{ours}.{here}_norm")
        return found

    def ends(theirs: str, ours: str, coarse: str) -> Weights:
        found: Weights = {}
        for there, here in (("HH", "fine"), (coarse, "coarse")):
            found |= named.torch_layer(f"{theirs}.conv{there}", f"{ours}.{here}")
            found |= named.torch_norm(f"{theirs}.BN_{there}", f"{ours}.{here}_norm")
        return found

    found = ends("InputOct.EncodeConv1", "split", "HL") | octave("InputOct.EncodeConv2", "enter")
    level = 0
    while f"EncodeConvs.{level}.EncodeConv1.convHH.weight" in named.weights:
        up, ours_up = f"DecodeConvs.{level}.up", f"ups.{level}"
        for there, here in (("HH", "fine"), ("LH", "coarse_to_fine"), ("LL", "coarse")):
            found |= named.torch_layer(f"{up}.up_{there}", f"{ours_up}.{here}", transposed=True)
        found |= named.torch_layer(f"{up}.up_HL", f"{ours_up}.fine_to_coarse")
        found |= named.torch_norm(f"{up}.BN_H", f"{ours_up}.fine_norm")
        found |= named.torch_norm(f"{up}.BN_L", f"{ours_up}.coarse_norm")
        for place in range(2):
            found |= octave(
                f"EncodeConvs.{level}.EncodeConv{place + 1}", f"encoders.{level}.{place}"
            ) | octave(f"DecodeConvs.{level}.DecodeConv{place + 1}", f"decoders.{level}.{place}")
        level += 1
    for place in range(2):
        found |= octave(f"MidConv1.MidConv{place + 1}", f"bottom.{place}")
    found |= ends("FinalOct", "leave", "LH")
    found |= named.torch_layer("FinalOct.up", "leave.up", transposed=True)
    return found | named.torch_layer("FinalOct.FinalConv", "leave.last")
