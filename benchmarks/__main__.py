"""``python -m benchmarks [name ...]``: methods against the same algorithms on SciPy's FFT.

Every time is the best of several runs after compilation, both sides on the same data in the same
process; the ratio says how many times faster jaxqsm is. Results of both sides are compared as well.
Peak memory is that of a process of its own which runs one side once, data and libraries included.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from benchmarks.reference import background as their_background
from benchmarks.reference import grid
from benchmarks.reference import inversion as their_inversion
from benchmarks.reference.inversion import HYBRID_ITERATIONS
from benchmarks.reference.run import run
from jaxqsm import Acquisition, Geometry
from jaxqsm.background import (
    harperella,
    iharperella,
    ismv,
    lbv,
    msmv,
    pdf,
    polynomial,
    resharp,
    sdf,
    sharp,
    v_sharp,
)
from jaxqsm.inversion import (
    amp_pe,
    fansi_tgv,
    fansi_tv,
    hd_qsm,
    heidi,
    ilsqr,
    l1_qsm,
    medi,
    ndi,
    nltv,
    rts,
    star,
    tgv,
    tikhonov,
    tkd,
    tsvd,
    tv,
    wh_qsm,
)
from jaxqsm.operators import fast_shape
from jaxqsm.physics import dipole_convolve, dipole_kernel, gre_signal
from jaxqsm.pipeline import Config, reconstruct
from jaxqsm.single_step import ss_tv, tfi, tgv_qsm
from jaxqsm.variational.common import padded_shape

SHAPE = (160, 160, 160)
PADDED = padded_shape(SHAPE)
DIRECTION = np.array([0.2, -0.1, 0.97]) / np.linalg.norm([0.2, -0.1, 0.97])
GEOMETRY = Geometry((1.0, 1.0, 1.0), DIRECTION)
GRIDS = {"tfi": fast_shape(SHAPE, [n // 2 for n in SHAPE]), "amp_pe": (208, 208, 208)}
"""Of inversions on others: all of the sources around, and four times halved."""
FEW, MANY = 5, 15
RUN_ITERATIONS = 40


@dataclasses.dataclass(frozen=True)
class Case:
    """One algorithm on both sides: functions of the number of iterations.

    Attributes:
        label: row of the table.
        ours: jaxqsm.
        theirs: the same by :mod:`benchmarks.reference`.
        per_iteration: whether time is that of one more iteration, or of a whole call.
        many: iterations whose time is compared with that of a few; more where much else is done.
    """

    label: str
    ours: Callable[[int], jax.Array]
    theirs: Callable[[int], np.ndarray]
    per_iteration: bool = False
    many: int = MANY


def main(arguments: list[str]) -> None:
    """Run the named benchmarks, or all, and print a table."""
    if arguments[:1] == ["--peak"]:
        _, name, side = arguments
        getattr(CASES[name](), side)(FEW)
        print(_peak_of_this_process())
        return
    unknown = [n for n in arguments if n not in CASES]
    if unknown:
        sys.exit(f"unknown benchmark {unknown[0]}; use {', '.join(CASES)}")
    columns = ("jaxqsm", "SciPy FFT", "times faster", "peak jaxqsm", "peak SciPy", "results differ by")
    table = Table("at 160³", *columns)
    for name in arguments or CASES:
        case = CASES[name]()
        ours, theirs = _seconds(case.ours, case), _seconds(case.theirs, case)
        difference = np.asarray(case.ours(FEW)) - case.theirs(FEW)
        relative = float(np.linalg.norm(difference) / np.linalg.norm(case.theirs(FEW)))
        table.add_row(
            case.label,
            f"{ours:.3f} s",
            f"{theirs:.3f} s",
            f"{theirs / ours:.2f}",
            f"{_peak(name, 'ours'):.2f} GiB",
            f"{_peak(name, 'theirs'):.2f} GiB",
            f"{relative:.0e}",
        )
    console = Console(width=120)
    console.print(table)
    console.print(f"{jax.devices()[0].device_kind}, {len(jax.devices())} device, jax {jax.__version__}")


def _volumes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ball the size of a brain with tissue-like χ, its field, and its mask: little memory to make."""
    x, y, z = np.ogrid[tuple(slice(-n // 2, n - n // 2) for n in SHAPE)]
    mask = x**2 + y**2 + z**2 <= 70**2
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE, np.float32), 2)
    chi = np.where(mask, 0.05 * texture / texture.std(), 0).astype(np.float32)
    return chi, grid.convolve(chi, grid.dipole_kernel(SHAPE, DIRECTION)), mask


def _dipole() -> Case:
    chi = _volumes()[0]
    image = jnp.asarray(chi)
    our_kernel = dipole_kernel(SHAPE, GEOMETRY)
    their_kernel = grid.dipole_kernel(SHAPE, DIRECTION)
    convolve = jax.jit(lambda c: dipole_convolve(c, our_kernel, SHAPE))
    return Case(
        "dipole convolution",
        lambda _: convolve(image).block_until_ready(),
        lambda _: grid.convolve(chi, their_kernel),
    )


def _run() -> Case:
    """Complex signal to χ; region growing, compiled code, serves both sides."""
    _, field, mask = _volumes()
    acquisition = Acquisition((0.004, 0.012, 0.020), 3.0)
    signal = gre_signal(jnp.asarray(field), acquisition, m0=1.0, r2star=25.0, phase_offset=0.5)
    inside = jnp.asarray(mask)
    config = Config(inversion="tv", options={"tv": {"tolerance": 0.0, "max_iterations": RUN_ITERATIONS}})
    on_host = np.asarray(signal)
    return Case(
        f"whole run, TV with {RUN_ITERATIONS} iterations",
        lambda _: reconstruct(signal, inside, GEOMETRY, acquisition, config).chi.block_until_ready(),
        lambda _: run(on_host, mask, acquisition, DIRECTION, PADDED, RUN_ITERATIONS),
    )


def _whole(method: Callable[..., Any]) -> Callable[[], Case]:
    """Background removal without iterations to count."""

    def case() -> Case:
        _, field, mask = _volumes()
        arrays = jnp.asarray(field), jnp.asarray(mask)
        theirs = getattr(their_background, method.__name__)
        return Case(
            f"`{method.__name__}`, whole",
            lambda _: method(*arrays, GEOMETRY)[0].block_until_ready(),
            lambda _: _image(theirs(field, mask)),
        )

    return case


def _removal(
    method: Callable[..., Any], iterations: str, transforms: str, **options: float
) -> Callable[[], Case]:
    """An iteration of background removal."""

    def case() -> Case:
        _, field, mask = _volumes()
        arrays = jnp.asarray(field), jnp.asarray(mask)
        direction = (DIRECTION,) if method is pdf else ()
        theirs = getattr(their_background, method.__name__)

        def ours(n: int) -> jax.Array:
            return method(*arrays, GEOMETRY, **options, **{iterations: n})[0].block_until_ready()

        label = f"`{method.__name__}`, an iteration ({transforms})"
        return Case(label, ours, lambda n: theirs(field, mask, *direction, n), per_iteration=True)

    return case


def _inversion(
    method: Callable[..., Any], transforms: str, iterations: str | None = "max_iterations", **options: float
) -> Callable[[], Case]:
    """An iteration of an inversion or a single step, or all where there is none to count.

    The field is its whole input but for MEDI's edges.
    """

    def case() -> Case:
        chi, field, mask = _volumes()
        arrays, name = (jnp.asarray(field), jnp.asarray(mask)), method.__name__
        theirs = getattr(their_inversion, name)
        given: dict[str, Any] = {"guide": jnp.asarray(chi)} if method is medi else {}

        def ours(n: int) -> jax.Array:
            count = {} if iterations is None else {iterations: n}
            found = method(*arrays, GEOMETRY, **given, **options, **count)
            return jax.block_until_ready(_image(found))

        def reference(n: int) -> np.ndarray:
            if method is tgv_qsm:
                return theirs(field, mask, DIRECTION, PADDED, n)
            shape = GRIDS.get(name, PADDED)
            problem = their_inversion.Problem(field, mask, mask.astype(np.float32), DIRECTION, shape)
            return theirs(problem, chi, n) if method is medi else theirs(problem, n)

        many = 4 * MANY if method is ilsqr else MANY
        part = "whole" if iterations is None else "an iteration"
        label = f"`{name}`, {part} ({transforms})"
        return Case(label, ours, reference, per_iteration=iterations is not None, many=many)

    return case


CASES: dict[str, Callable[[], Case]] = {
    "dipole": _dipole,
    "tkd": _inversion(tkd, "2 FFTs", None),
    "tsvd": _inversion(tsvd, "2 FFTs", None),
    "tikhonov": _inversion(tikhonov, "2 FFTs", None),
    "tv": _inversion(tv, "4 FFTs", tolerance=0.0),
    "fansi_tv": _inversion(fansi_tv, "4 FFTs", tolerance=0.0),
    "l1_qsm": _inversion(l1_qsm, "4 FFTs", tolerance=0.0),
    "medi": _inversion(medi, "4 FFTs", tolerance=0.0),
    "nltv": _inversion(nltv, "of its 4 solves, 16 FFTs", tolerance=0.0),
    "tgv": _inversion(tgv, "10 FFTs", tolerance=0.0),
    "fansi_tgv": _inversion(fansi_tgv, "10 FFTs", tolerance=0.0),
    "wh_qsm": _inversion(wh_qsm, "6 FFTs", tolerance=0.0),
    "amp_pe": _inversion(amp_pe, "4 FFTs", tolerance=0.0, outer_iterations=0),
    "hd_qsm": _inversion(hd_qsm, "4 FFTs", "iterations", start_iterations=HYBRID_ITERATIONS),
    "star": _inversion(star, "of both levels, 8 FFTs", tolerance=0.0),
    "rts": _inversion(rts, "2 FFTs", tolerance=0.0),
    "heidi": _inversion(heidi, "2 FFTs", tolerance=0.0),
    "ndi": _inversion(ndi, "4 FFTs", "iterations"),
    "ilsqr": _inversion(ilsqr, "2 FFTs", "max_iterations"),
    "ss_tv": _inversion(ss_tv, "10 FFTs", tolerance=0.0),
    "tfi": _inversion(tfi, "4 FFTs", "iterations", outer_iterations=1),
    "tgv_qsm": _inversion(tgv_qsm, "12 FFTs", tolerance=0.0),
    "v_sharp": _whole(v_sharp),
    "sharp": _whole(sharp),
    "msmv": _whole(msmv),
    "sdf": _whole(sdf),
    "polynomial": _whole(polynomial),
    "pdf": _removal(pdf, "iterations", "4 FFTs"),
    "resharp": _removal(resharp, "iterations", "4 FFTs"),
    "ismv": _removal(ismv, "max_iterations", "2 FFTs", tolerance=0.0),
    "lbv": _removal(lbv, "iterations", "2 FFTs"),
    "harperella": _removal(harperella, "iterations", "2 FFTs"),
    "iharperella": _removal(iharperella, "iterations", "4 FFTs"),
    "run": _run,
}


def _image(found: Any) -> Any:
    """Of what a method finds, which may come with a mask."""
    return found[0] if isinstance(found, tuple) else found


def _seconds(side: Callable[[int], object], case: Case) -> float:
    side(FEW)
    if not case.per_iteration:
        return _best(lambda: side(FEW), 2 if case.label.startswith("whole") else 8)
    side(case.many)
    return (_best(lambda: side(case.many), 3) - _best(lambda: side(FEW), 3)) / (case.many - FEW)


def _best(work: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _peak_of_this_process() -> int:
    """KiB. Linux: the usual ``ru_maxrss`` starts from what the parent held when it forked."""
    (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    return int(line.split()[1])


def _peak(name: str, side: str) -> float:
    """GiB that a process running one side once has used at most."""
    command = [sys.executable, "-m", "benchmarks", "--peak", name, side]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024**2


if __name__ == "__main__":
    main(sys.argv[1:])
