"""``python -m benchmarks [name ...]``: methods against the same algorithms on SciPy's FFT.

Every time is the best of several runs after compilation, both sides on the same data in the same
process; the ratio says how many times faster jaxqsm is. Results of both sides are compared as well.
Peak memory is that of a process of its own which runs one side once, data and libraries included.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from benchmarks.record import write_page
from benchmarks.reference import background as their_background
from benchmarks.reference import grid
from benchmarks.reference import inversion as their_inversion
from benchmarks.reference.inversion import HYBRID_ITERATIONS
from benchmarks.reference.run import run
from benchmarks.timing import best_seconds
from jaxqsm import Acquisition, Geometry
from jaxqsm.methods import METHODS, Method
from jaxqsm.operators import fast_shape
from jaxqsm.physics import dipole_convolve, dipole_kernel, gre_signal
from jaxqsm.pipeline import Config, reconstruct
from jaxqsm.variational.common import padded_shape

READING = """The same algorithm on both sides, on the same 160³ data in one process, an iteration unless said
otherwise: inversions on their padded 200³ grid, `amp_pe` on 208³, `tfi` and `pdf` on 240³; SciPy's FFT has
two workers. Peak memory is that of a process which runs one side once.

χ is found in k-space and penalised in space (two FFTs), and where voxels of the field count differently,
the misfit is in space and its adjoint in k-space (two more); four SMV kernels take eight, the vectors and
slopes of TGV eight, and a harmonic field that is found along two more.
"""

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
    table, rows = Table("at 160³", *columns), []
    for name in arguments or CASES:
        case = CASES[name]()
        ours, theirs = _seconds(case.ours, case), _seconds(case.theirs, case)
        difference = np.asarray(case.ours(FEW)) - case.theirs(FEW)
        relative = float(np.linalg.norm(difference) / np.linalg.norm(case.theirs(FEW)))
        row = [
            case.label,
            f"{ours:.3f} s",
            f"{theirs:.3f} s",
            f"{theirs / ours:.2f}",
            f"{_peak(name, 'ours'):.2f} GiB",
            f"{_peak(name, 'theirs'):.2f} GiB",
            f"{relative:.0e}",
        ]
        table.add_row(*row)
        rows.append(row)
    Console(width=120).print(table)
    if not arguments:
        lines = [
            f"| {' | '.join(row)} |" for row in (["at 160³", *columns], ["---"] * (1 + len(columns)), *rows)
        ]
        write_page("speed", "Speed and memory beside SciPy's FFT", "python -m benchmarks", READING, *lines)


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


OPTIONS: dict[str, dict[str, float]] = {
    "amp_pe": {"outer_iterations": 0},
    "hd_qsm": {"start_iterations": HYBRID_ITERATIONS},
    "lbv": {"erosion": 0.0},
    "tfi": {"outer_iterations": 1},
    "tgv_qsm": {"erosion": 0.0},
}
"""Options of single methods beside ``tolerance=0``, such that both sides do the same."""


def _removal(method: Method, theirs: Callable[..., Any]) -> Callable[[], Case]:
    """Background removal: an iteration where the reference counts them, else all of it."""
    counted = len([p for p in inspect.signature(theirs).parameters if p == "iterations"]) > 0

    def case() -> Case:
        _, field, mask = _volumes()
        arrays = jnp.asarray(field), jnp.asarray(mask)
        direction = (DIRECTION,) if "b0_dir" in inspect.signature(theirs).parameters else ()

        def ours(n: int) -> jax.Array:
            return jax.block_until_ready(
                method.function(*arrays, GEOMETRY, **_options(method, n, counted))[0]
            )

        def reference(n: int) -> np.ndarray:
            return _image(theirs(field, mask, *direction, *([n] if counted else [])))

        return Case(_label(method, counted), ours, reference, per_iteration=counted)

    return case


def _inversion(method: Method, theirs: Callable[..., Any]) -> Callable[[], Case]:
    """An iteration of an inversion or a single step, or all where there is none to count.

    The field is its whole input but for the image whose edges MEDI takes.
    """
    name, counted = method.name, any(o.name == "max_iterations" for o in method.options)

    def case() -> Case:
        chi, field, mask = _volumes()
        arrays = jnp.asarray(field), jnp.asarray(mask)
        given: dict[str, Any] = {}
        if method.takes("acquisition"):
            given["acquisition"] = _at_phase_scale(4.0 if name == "ndi" else 16.0)
        if name == "medi":
            given |= {"magnitude": jnp.asarray(chi), "weights": arrays[1].astype(float)}

        def ours(n: int) -> jax.Array:
            found = method.function(*arrays, GEOMETRY, **given, **_options(method, n, counted))
            return jax.block_until_ready(_image(found))

        def reference(n: int) -> np.ndarray:
            if name == "tgv_qsm":
                return theirs(field, mask, DIRECTION, PADDED, n)
            shape = GRIDS.get(name, PADDED)
            problem = their_inversion.Problem(field, mask, mask.astype(np.float32), DIRECTION, shape)
            return theirs(problem, chi, n) if name == "medi" else theirs(problem, n)

        many = 4 * MANY if name == "ilsqr" else MANY
        return Case(_label(method, counted), ours, reference, per_iteration=counted, many=many)

    return case


def _at_phase_scale(radians_per_ppm: float) -> Acquisition:
    """The acquisition of one echo whose phase scale the reference has."""
    return Acquisition((radians_per_ppm / float(Acquisition((1.0,), 3.0).phase_scale),), 3.0)


def _options(method: Method, count: int, counted: bool) -> dict[str, Any]:
    known = {option.name for option in method.options}
    exact = method.fixed | ({"tolerance": 0.0, "max_iterations": count} if counted else {})
    return {name: value for name, value in exact.items() if name in known} | OPTIONS.get(method.name, {})


def _label(method: Method, counted: bool) -> str:
    """Name, and the transforms of an iteration as the docstring says them."""
    said = re.search(r"(\w+) real FFTs an\s+iteration", inspect.getdoc(method.function) or "")
    transforms = f" ({said[1].lower()} FFTs)" if said and counted else ""
    return f"`{method.name}`, {'an iteration' if counted else 'whole'}{transforms}"


def _cases() -> dict[str, Callable[[], Case]]:
    """The convolution, every method of the registry that the reference has, and a whole run."""
    found: dict[str, Callable[[], Case]] = {"dipole": _dipole}
    for stage, make, references in (
        ("inversion", _inversion, their_inversion),
        ("single_step", _inversion, their_inversion),
        ("background", _removal, their_background),
    ):
        for name, method in METHODS[stage].items():
            if hasattr(references, name):
                found[name] = make(method, getattr(references, name))
    return found | {"run": _run}


CASES = _cases()


def _image(found: Any) -> Any:
    """Of what a method finds, which may come with a mask."""
    return found[0] if isinstance(found, tuple) else found


def _seconds(side: Callable[[int], object], case: Case) -> float:
    side(FEW)
    if not case.per_iteration:
        return best_seconds(lambda: side(FEW), 2 if case.label.startswith("whole") else 8)
    side(case.many)
    return (best_seconds(lambda: side(case.many), 3) - best_seconds(lambda: side(FEW), 3)) / (case.many - FEW)


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
