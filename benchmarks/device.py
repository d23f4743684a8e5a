"""``python -m benchmarks.device [--small]``: speed on an accelerator, beside PyTorch and a copy of memory.

A dipole convolution at 160³ and an iteration of total variation at 240 × 288 × 240, each beside the same
arithmetic in eager PyTorch on the same device, in one run; and the default pipeline at 1 mm, with its
compilation. The floor is what an algorithm must move through memory, at the speed of a copy that is measured
here. Writes ``results/device.md`` where the device is a GPU or TPU; on a CPU, or with ``--small``, it prints.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.record import write_page
from benchmarks.timing import best_seconds
from jaxqsm import Acquisition, Geometry
from jaxqsm.inversion import tv
from jaxqsm.physics import dipole_convolve, dipole_kernel, gre_signal
from jaxqsm.pipeline import Config, reconstruct
from jaxqsm.variational.common import padded_shape

GEOMETRY = Geometry((1.0, 1.0, 1.0), (0.2, -0.1, 0.97))
WEIGHT = 1e-3
FEW, MANY = 10, 60
ECHO_TIMES = (0.004, 0.010, 0.016, 0.022)

READING = """Milliseconds, best of several. The floor of an iteration counts four real transforms of three
passes each, read and written, and the state and kernels once; that of the convolution two transforms and the
kernel. `first` is the call that compiles.
"""


def main(arguments: list[str]) -> None:
    """Measure, print, and write the page where it is an accelerator's."""
    small = "--small" in arguments
    bandwidth = _bandwidth(64 if small else 400)
    rows = [
        "| what | grid | jaxqsm | PyTorch | times faster | floor | of the floor |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        _convolution((64,) * 3 if small else (160,) * 3, bandwidth),
        _iteration((48, 64, 48) if small else (240, 288, 240), bandwidth),
    ]
    pipeline = [
        "| default pipeline, 4 echoes | first, s | warm, s |",
        "| --- | --- | --- |",
        _pipeline((64, 64, 48) if small else (256, 256, 176)),
    ]
    memory = f"Memory copies at {bandwidth / 1e9:.0f} GB/s (read and written).\n"
    print("\n".join([memory, *rows, "", *pipeline]))
    if jax.default_backend() != "cpu" and not small:
        parts = READING, memory, "\n".join(rows) + "\n", "\n".join(pipeline)
        write_page("device", "Speed on an accelerator", "python -m benchmarks.device", *parts)


def _bandwidth(megabytes: int) -> float:
    """Bytes per second that a copy reads and writes."""
    volume = jnp.ones(megabytes * 2**18, jnp.float32)
    seconds = _best(lambda: jax.block_until_ready(_copy(volume)), 10)
    return 2 * volume.nbytes / seconds


@jax.jit
def _copy(volume: jax.Array) -> jax.Array:
    return volume + 1


def _convolution(shape: tuple[int, ...], bandwidth: float) -> str:
    chi = _blob(shape)
    kernel = dipole_kernel(shape, GEOMETRY)
    ours = jax.jit(lambda chi, kernel: dipole_convolve(chi, kernel, shape))
    image = jnp.asarray(chi)
    seconds = _best(lambda: jax.block_until_ready(ours(image, kernel)), 20)
    theirs = None
    if (found := _torch()) is not None:
        torch, device = found
        volume, weights = (torch.asarray(np.asarray(v), device=device) for v in (chi, kernel))

        def convolved() -> Any:
            return torch.fft.irfftn(torch.fft.rfftn(volume) * weights, s=shape)

        theirs = _best_of_torch(convolved, torch, 20)
        _require_equal(np.asarray(ours(image, kernel)), convolved().cpu().numpy())
    moved = _transforms(2, shape) + 4 * np.prod(shape) / 2
    return _row("dipole convolution", shape, seconds, theirs, moved / bandwidth)


def _iteration(shape: tuple[int, ...], bandwidth: float) -> str:
    """One more iteration of ``tv``: the difference of many and few."""
    chi, mask = _blob(shape), jnp.ones(shape, bool)
    field = jnp.asarray(chi)

    def ours(count: int) -> Callable[[], Any]:
        options = {"weight": WEIGHT, "tolerance": 0.0, "max_iterations": count}
        return lambda: jax.block_until_ready(tv(field, mask, GEOMETRY, **options))

    few, many = (_best(ours(n), 3) for n in (FEW, MANY))
    grid = padded_shape(shape)
    theirs = None
    if (found := _torch()) is not None:
        torch, device = found
        step = _step_in_torch(torch, device, grid)
        theirs = _best_of_torch(lambda: [step() for _ in range(FEW)], torch, 3) / FEW
    # Three gradients and the field are state; the weights, the field and two half spectra are given.
    moved = _transforms(4, grid) + 4 * np.prod(grid) * (2 * 4 + 2 + 1)
    return _row("`tv`, an iteration", grid, (many - few) / (MANY - FEW), theirs, moved / bandwidth)


def _step_in_torch(torch: Any, device: Any, grid: tuple[int, ...]) -> Callable[[], Any]:
    """The iteration of ``tv`` as one would write it in PyTorch, with what it needs on the device."""
    kernel = torch.asarray(np.asarray(dipole_kernel(grid, GEOMETRY)), device=device)
    cycles = [np.fft.fftfreq(n) for n in grid[:2]] + [np.fft.rfftfreq(grid[2])]
    energies = [4 * np.sin(np.pi * c.reshape([-1 if i == a else 1 for i in range(3)])) ** 2
                for a, c in enumerate(cycles)]  # fmt: skip
    energy = torch.asarray(np.float32(sum(energies)), device=device)
    rho, shrinkage = 100 * WEIGHT, 0.01
    divisor = rho * energy + kernel**2 + 1e-9
    measured = torch.full(grid, 0.01, device=device)
    state = [torch.zeros(grid, device=device) for _ in range(4)]

    def step() -> Any:
        shrunk = [s - torch.clamp(s, -shrinkage, shrinkage) for s in state[:3]]
        fitted = (measured + state[3]) / 2
        reflected = [2 * z - s for z, s in zip((*shrunk, fitted), state, strict=True)]
        pull = sum(torch.roll(g, 1, a) - g for a, g in enumerate(reflected[:3]))
        spectrum = (rho * torch.fft.rfftn(pull) + kernel * torch.fft.rfftn(reflected[3])) / divisor
        chi = torch.fft.irfftn(spectrum, s=grid)
        near = [torch.roll(chi, -1, a) - chi for a in range(3)] + [
            torch.fft.irfftn(kernel * spectrum, s=grid)
        ]
        for index, (new, z) in enumerate(zip(near, (*shrunk, fitted), strict=True)):
            state[index] = state[index] + 1.8 * (new - z)
        return chi

    return step


def _pipeline(shape: tuple[int, ...]) -> str:
    chi = jnp.asarray(_blob(shape))
    x, y, z = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    mask = jnp.asarray(x**2 + y**2 + z**2 < 0.6)
    acquisition = Acquisition(ECHO_TIMES, 3.0)
    field = dipole_convolve(chi, dipole_kernel(shape, GEOMETRY), shape)
    signal = gre_signal(field, acquisition, m0=1.0, r2star=25.0, phase_offset=0.5)
    once = jax.jit(lambda signal, mask: reconstruct(signal, mask, GEOMETRY, acquisition, Config()).chi)

    def work() -> None:
        jax.block_until_ready(once(signal, mask))

    start = time.perf_counter()
    work()
    first = time.perf_counter() - start
    return f"| {' × '.join(map(str, shape))} | {first:.1f} | {_best(work, 3):.2f} |"


def _blob(shape: tuple[int, ...]) -> np.ndarray:
    """χ without symmetry, ppm."""
    x, y, z = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    inside = x**2 + y**2 + z**2 < 0.6
    return (0.05 * np.sin(9 * x + 2 * y) * np.cos(7 * z) * inside).astype(np.float32)


def _transforms(count: int, shape: tuple[int, ...]) -> float:
    """Bytes that real transforms move: one pass an axis, read and written."""
    return float(count * 3 * 2 * 4 * np.prod(shape))


def _torch() -> tuple[Any, Any] | None:
    """PyTorch and the device of the same kind as JAX's; None where it has none."""
    try:
        import torch
    except ImportError:
        return None
    if jax.default_backend() == "cpu":
        return torch, torch.device("cpu")
    return (torch, torch.device("cuda")) if torch.cuda.is_available() else None


def _best(work: Callable[[], object], runs: int) -> float:
    """Measure the shortest of several runs after one that compiles."""
    work()
    return best_seconds(work, runs)


def _best_of_torch(work: Callable[[], object], torch: Any, runs: int) -> float:
    def synchronised() -> None:
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return _best(synchronised, runs)


def _require_equal(ours: np.ndarray, theirs: np.ndarray) -> None:
    if not np.allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max()):
        sys.exit("PyTorch has another result: the comparison is void")


def _row(what: str, grid: tuple[int, ...], ours: float, theirs: float | None, floor: float) -> str:
    beside = ("", "") if theirs is None else (f"{1e3 * theirs:.3f}", f"{theirs / ours:.2f}")
    cells = what, " × ".join(map(str, grid)), f"{1e3 * ours:.3f}", *beside, f"{1e3 * floor:.3f}"
    return f"| {' | '.join(cells)} | {ours / floor:.1f} |"


if __name__ == "__main__":
    main(sys.argv[1:])
