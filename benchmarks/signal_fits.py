"""``python -m benchmarks.signal_fits [--set DIR]``: χ from the complex signal at once, beside stages in turn.

Four scans of the evaluation set with voxels twice as long, and, from the folder that ``jaxqsm
evaluation-set`` wrote, as they are. Every way has the same signal, mask and defaults, and is scored where all
of them have a value. Writes ``signal_fits.json`` and ``signal_fits.md`` in ``results/``; finished scans are
not done again (a quarter of an hour with long voxels, half an hour at 1 mm, on one core).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from benchmarks import evaluation_set
from benchmarks.record import RESULTS
from jaxqsm import metrics
from jaxqsm.evaluation import EVALUATION_SCANS, EvaluationScan
from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.io import find_scans, load_scan, save_json
from jaxqsm.pipeline import Config, box_around, cut, reconstruct
from jaxqsm.variational.common import referenced

RECORD = RESULTS / "signal_fits.json"
PAGE = RESULTS / "signal_fits.md"
SCANS = ("reference", "7t", "noisy", "lesions")
WAYS = {
    "romeo, v_sharp, tv": Config(background="v_sharp", inversion="tv"),
    "romeo, pdf, medi": Config(background="pdf", inversion="medi"),
    "romeo, residual_resharp, medi": Config(background="residual_resharp", inversion="medi"),
    "romeo, ss_tv": Config(),
    "signal_fit": Config(signal="signal_fit"),
}
INTRODUCTION = """# χ from the complex signal

NRMSE / detrended NRMSE in percent, from the scanner's complex multi-echo signal with its noise, in the voxels
where all ways have a value. Three stages are unwrapping, background removal and inversion (before them the
phase offset is taken off, after unwrapping echoes are fitted); `ss_tv` joins the last two; `signal_fit` joins
all. Seconds include compilation and are those of the first scan, on one core beside other work. Made by
`python -m benchmarks.signal_fits` (with `--set DIR` for the set as it is).
"""

READING = """## Reading

- Each stage that is left out takes its error along. On every scan, at both resolutions, `signal_fit` has a
  smaller detrended NRMSE than any way of three stages.
- What is gained is the background: `ss_tv` has most of it, as it undoes no filter. From the signal on,
  `signal_fit` gains over it what the model knows of whole turns: at 7 T with long voxels 1.4 points, nothing
  where turns are easily counted.
- XSIM at 1 mm is higher by `residual_resharp` and `medi`, which smooths less than the weight of `ss_tv`.
"""

Table = dict[str, dict[str, dict[str, float]]]
"""By scan, by way."""


@dataclasses.dataclass(frozen=True)
class _Signal:
    """What every way is given, cut to the brain, and its truth."""

    signal: Complex[Array, "x y z echo"]
    mask: Bool[Array, "x y z"]
    geometry: Geometry
    acquisition: Acquisition
    chi: Float[Array, "x y z"]


def main() -> None:
    """Fill the record and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.signal_fits", description=__doc__)
    parser.add_argument(
        "--set", type=Path, metavar="DIR", help="of jaxqsm evaluation-set: its scans as they are"
    )
    given = parser.parse_args()
    record: dict[str, Table] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for part, label, make in _scans(given.set):
        table = record.setdefault(part, {})
        if label not in table:
            table[label] = _compare(make())
            save_json(RECORD, record)
            print(part, label, table[label], file=sys.stderr, flush=True)
            parts = [f"## {name}\n\n{_rows(rows)}" for name, rows in record.items()]
            PAGE.write_text("\n".join([INTRODUCTION, *parts, READING]), encoding="utf-8")


def _scans(folder: Path | None) -> Iterator[tuple[str, str, Callable[[], _Signal]]]:
    chosen = [scan for scan in EVALUATION_SCANS if scan.name in SCANS]
    for scan in chosen:
        yield "Voxels twice as long", scan.name, partial(_coarse, scan)
    if folder is not None:
        for scan in chosen:
            yield "The set as it is", scan.name, partial(_as_it_is, folder, f"sub-{scan.name}")


def _coarse(scan: EvaluationScan) -> _Signal:
    coarse = evaluation_set.with_long_voxels(scan)
    taken = coarse.protocol.scan(coarse.phantom(), key=scan.key)
    volumes = np.asarray(taken.signal), taken.mask, np.asarray(taken.chi)
    return _cut(volumes, coarse.protocol.geometry, coarse.protocol.acquisition)


def _as_it_is(folder: Path, label: str) -> _Signal:
    (files,) = (scan for scan in find_scans(folder) if scan.name == label)
    scan = load_scan(files.phase, files.magnitude)
    mask, chi = evaluation_set.truth(folder, label, "desc-brain_mask", "Chimap")
    signal = scan.magnitude * np.exp(1j * scan.phase)
    return _cut((signal.astype(np.complex64), mask > 0, chi), scan.geometry, scan.acquisition)


def _cut(
    volumes: tuple[np.ndarray, np.ndarray, np.ndarray], geometry: Geometry, acquisition: Acquisition
) -> _Signal:
    box = box_around(volumes[1])
    signal, mask, chi = (jnp.asarray(cut(volume, box)) for volume in volumes)
    return _Signal(signal, mask, geometry, acquisition, chi)


def _compare(given: _Signal) -> dict[str, dict[str, float]]:
    scan = given.signal, given.mask, given.geometry, given.acquisition
    found, seconds = {}, {}
    for way, config in WAYS.items():
        start = time.perf_counter()
        maps = jax.block_until_ready(reconstruct(*scan, config))
        found[way], seconds[way] = (maps.chi, maps.mask), time.perf_counter() - start
    common = jnp.all(jnp.stack([mask for _, mask in found.values()]), axis=0)
    truth = referenced(given.chi, common)
    rows = {}
    for way, (chi, mask) in found.items():
        image = referenced(chi, common)
        rows[way] = {
            "nrmse": float(metrics.nrmse(image, truth, common)),
            "detrended_nrmse": float(metrics.detrended_nrmse(image, truth, common)),
            "xsim": float(metrics.xsim(image, truth, common)),
            "valid": float(mask.sum() / given.mask.sum()),
            "seconds": seconds[way],
        }
    return {way: {key: round(value, 4) for key, value in row.items()} for way, row in rows.items()}


def _rows(table: Table) -> str:
    lines = ["| way | " + " | ".join(table) + " | mean XSIM | valid part | seconds |"]
    lines.append("| --- |" + " --- |" * (len(table) + 3))
    first = next(iter(table.values()))
    for way in WAYS:
        cells = [row[way] for row in table.values()]
        values = [f"{cell['nrmse']:.1f} / {cell['detrended_nrmse']:.1f}" for cell in cells]
        xsim, valid = (np.mean([cell[key] for cell in cells]) for key in ("xsim", "valid"))
        ends = [f"{xsim:.2f}", f"{valid:.2f}", f"{first[way]['seconds']:.0f}"]
        lines.append(f"| `{way}` | " + " | ".join([*values, *ends]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
