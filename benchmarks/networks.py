"""``python -m benchmarks.networks``: networks in jaxqsm, and the same in PyTorch on two threads.

A convolution, and the denoiser of LPCNN (17 convolutions of 32 channels) with its weights copied, on one
patch and on a batch of four: an inference, and a step of training (loss, gradient in all weights). A batch is
spread over two devices, a core each, as ``jaxqsm train`` does. Times are the best of several, both sides in
one process and taking turns; the ratio is ours over PyTorch's, so less is better.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional

from benchmarks.record import write_page
from jaxqsm.networks import conv3d
from jaxqsm.networks.blocks.layers import share_statistics
from jaxqsm.networks.blocks.wide_residual import WideResidual

SHAPE = (48, 48, 48)
RUNS = 8
CORES = 2


class Block(nn.Module):
    """A residual block of LPCNN."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv3d(32, 32, 3, padding=1, bias=False) for _ in range(2))
        self.first_norm, self.second_norm = nn.BatchNorm3d(32), nn.BatchNorm3d(32)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        inner = functional.relu(self.first_norm(self.first(images)))
        return functional.relu(images + self.second_norm(self.second(inner)))


def main() -> None:
    """Print the table and write it."""
    torch.set_num_threads(CORES)
    jax.config.update("jax_num_cpu_devices", CORES)
    columns = [f"{SHAPE[0]}³", "jaxqsm", "PyTorch", "ratio", "results differ by"]
    table, rows = Table(*columns), []
    for label, ours, theirs in (
        _convolution(16),
        _convolution(32),
        *_denoiser(1),
        *_denoiser(4),
    ):
        difference = np.abs(ours() - theirs()).max() / np.abs(theirs()).max()
        times = _best(ours, theirs)
        cells = (f"{times[0]:.3f} s", f"{times[1]:.3f} s", f"{times[0] / times[1]:.2f}", f"{difference:.0e}")
        table.add_row(label, *cells)
        rows.append([label, *cells])
    Console(width=100).print(table)
    lines = [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]
    write_page("network_speed", "Networks beside PyTorch", "python -m benchmarks.networks", *lines)


Case = tuple[str, Callable[[], np.ndarray], Callable[[], np.ndarray]]


def _convolution(channels: int) -> Case:
    random = np.random.default_rng(0)
    images = random.standard_normal((1, *SHAPE, channels), np.float32)
    kernel = 0.05 * random.standard_normal((3, 3, 3, channels, channels), np.float32)
    here = jnp.asarray(images), jnp.asarray(kernel)
    there = torch.from_numpy(images.transpose(0, 4, 1, 2, 3).copy())
    layer = torch.from_numpy(kernel.transpose(4, 3, 0, 1, 2).copy())
    forward = jax.jit(conv3d)
    return (
        f"3³ convolution, {channels} channels",
        lambda: np.asarray(forward(*here)),
        lambda: _last(functional.conv3d(there, layer, padding=1)),
    )


def _denoiser(batch: int) -> list[Case]:
    devices = Mesh(np.array(jax.devices()[: min(batch, CORES)]), ("batch",))
    everywhere, spread = PartitionSpec(), PartitionSpec("batch")
    network = WideResidual(1, dropout=0.0, rngs=nnx.Rngs(0))
    share_statistics(network, "batch")
    twin = _twin(network)
    images = np.random.default_rng(1).standard_normal((batch, *SHAPE, 1), np.float32)
    here, there = jnp.asarray(images), torch.from_numpy(images.transpose(0, 4, 1, 2, 3).copy())
    network.eval()
    graph, state = nnx.split(network)

    @jax.jit
    @partial(jax.shard_map, mesh=devices, in_specs=(everywhere, spread), out_specs=spread, check_vma=False)
    def infer(state: nnx.State, images: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(images)

    network.train()
    graph_training, parameters, others = nnx.split(network, nnx.Param, ...)  # type: ignore[misc]

    @jax.jit
    @partial(
        jax.shard_map, mesh=devices, in_specs=(everywhere, spread), out_specs=everywhere, check_vma=False
    )
    def step(parameters: nnx.State, images: jax.Array) -> tuple[jax.Array, nnx.State]:
        def loss(parameters: nnx.State) -> jax.Array:
            return jnp.mean(nnx.merge(graph_training, parameters, others, copy=True)(images) ** 2)

        return jax.lax.pmean(jax.value_and_grad(loss)(parameters), "batch")

    def their_inference() -> np.ndarray:
        twin.eval()
        with torch.no_grad():
            return _last(twin(there))

    def their_step() -> np.ndarray:
        twin.train()
        twin.zero_grad()
        value = (twin(there) ** 2).mean()
        value.backward()
        return np.asarray(value.item())

    of = "" if batch == 1 else f"batch of {batch}, "
    return [
        (f"LPCNN's denoiser, {of}inference", lambda: np.asarray(infer(state, here)), their_inference),
        (
            f"LPCNN's denoiser, {of}training step",
            lambda: np.asarray(jax.block_until_ready(step(parameters, here))[0]),
            their_step,
        ),
    ]


def _twin(network: WideResidual) -> nn.Sequential:
    def points(out: int) -> nn.Conv3d:
        return nn.Conv3d(32, out, 1, bias=False)

    blocks = [Block() for _ in network.blocks]
    enter = nn.Conv3d(1, 32, 3, padding=1, bias=False)
    last = points(32), points(32), points(1)
    layers = [(network.enter, enter)]
    for ours, theirs in zip(network.blocks, blocks, strict=True):
        layers += [(ours.first.convolution, theirs.first), (ours.second, theirs.second)]
    layers += list(zip([*network.points, network.leave], last, strict=True))
    for convolution, layer in layers:
        kernel = np.asarray(convolution.kernel[...]).transpose(4, 3, 0, 1, 2)
        layer.weight.data = torch.from_numpy(kernel.copy())
    relu = nn.ReLU
    return nn.Sequential(enter, relu(), *blocks, last[0], relu(), last[1], relu(), last[2])


def _last(images: torch.Tensor) -> np.ndarray:
    return images.detach().numpy().transpose(0, 2, 3, 4, 1)


def _best(*sides: Callable[[], object]) -> list[float]:
    """Seconds of each side's fastest run, the sides taking turns."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(RUNS):
        for side, taken in zip(sides, times, strict=True):
            start = time.perf_counter()
            side()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


if __name__ == "__main__":
    main()
