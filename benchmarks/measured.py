"""``python -m benchmarks.measured [METHOD | FIELD ...]``: a measured field, scored as QSM-CI does.

The head of the 2016 reconstruction challenge in ``../shared/data/invivo_2016``: its measured local field
against COSMOS of twelve orientations, and fields that the COSMOS map makes, at four directions of B0, two
voxel sizes and three noises. Every inversion has its defaults, of which the weight is chosen from the data;
its typical weight; and the best weight of a grid that is judged by the truth. It judges methods and defaults:
nothing may be trained on it, and no constant fitted to it alone. Writes ``measured.json``, ``measured.md``
and ``measured.png`` in ``results/``; finished cells are not done again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
from jaxtyping import Array, Bool, Float
from matplotlib.figure import Figure
from qsm_ci.qsm_eval import score_arrays

from benchmarks.record import RESULTS, write_page
from benchmarks.scoring import LONG, downhill
from jaxqsm import Geometry
from jaxqsm.evaluation.scans import tilted
from jaxqsm.io import save_json
from jaxqsm.learning import convert_weights, read_checkpoint
from jaxqsm.methods import METHODS, Method
from jaxqsm.physics import dipole_field
from jaxqsm.pipeline import box_around, cut
from jaxqsm.pretrained import learned

HEAD = Path(__file__).resolve().parents[2] / "shared" / "data" / "invivo_2016"
SPINET = HEAD.parent / "reference_weights" / "spinet_qsm.pth"
RECORD = RESULTS / "measured.json"
MEASURED = "measured"
"""Label of the measured field."""

DIRECTIONS = {f"{angle}°": tilted(angle) for angle in (0, 20, 45, 90)}
NOISES = (0.001, 0.003, 0.01)
"""Standard deviations of white noise on the fields of the COSMOS map, ppm."""

FACTOR = 2.0
"""Ratio of neighbouring weights of the grid."""

PUBLISHED = {
    "QSMnet+": (51.1, 49.1, 0.59),
    "LPCNN": (52.1, 50.7, 0.59),
    "QSMnet": (52.8, 51.0, 0.58),
    "MEDI, tuned": (60.0, 56.3, 0.53),
    "MoDL-QSM": (62.0, None, None),
    "TKD, tuned": (62.7, 58.7, 0.52),
    "TV, tuned": (71.4, 66.2, 0.47),
    "RTS": (71.7, None, None),
    "IR2QSM": (82.2, None, None),
}
"""NRMSE and HFEN in percent and XSIM on the measured field, by the same scorer (QSM-CI's leaderboard)."""

READING = """Scored by `qsm_ci.qsm_eval.score_arrays` over the whole mask: voxels without a value count as
zero, and `coverage` is the part of the mask that has one. The `default` weight is chosen from the field alone
(its seconds hold the search); `typical` is the one that the search begins near; `best` that of a grid in
steps of 2, judged by the truth, which nobody has for a scan of their own. The dipole field of the COSMOS map
explains two thirds of the variance of the measured field: the rest is noise, residual background, anisotropy,
flow, and errors of registration. `spinet_qsm` has its authors' weights, trained on COSMOS maps of other
heads; our own networks were trained on simulated heads alone.
"""

GREY = 0.1
"""Grey scale of the picture: ± so many ppm."""


class Field(NamedTuple):
    """A local field in ppm with the χ that it is scored against."""

    field: Float[Array, "x y z"]
    mask: Bool[Array, "x y z"]
    geometry: Geometry
    truth: Float[Array, "x y z"]


Named = TypeVar("Named")

Cell = dict[str, dict[str, float]]
"""Scores by choice of the weight: ``default``, ``typical`` and ``best``."""


def main(names: list[str]) -> None:
    """Fill the record for the methods and fields that are named, or for all, and write page and picture."""
    record: dict[str, dict[str, Cell]] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    methods, made = {m.name: m for m in _methods()}, fields()
    if unknown := set(names).difference(methods, made):
        sys.exit(f"{', '.join(sorted(unknown))}: neither a method nor a field; use {'; '.join(sorted(made))}")
    for method in _named(names, methods).values():
        for label, make in _named(names, made).items():
            row = record.setdefault(label, {})
            if method.name not in row:
                row[method.name] = _cell(method, make(), full=label == MEASURED)
                save_json(RECORD, record)
                print(label, method.name, row[method.name], file=sys.stderr, flush=True)
        jax.clear_caches()
    _write(record)
    draw(record, RESULTS / "measured.png")


def _named(names: list[str], all_of_them: dict[str, Named]) -> dict[str, Named]:
    """Those that are named, or all where none of them is."""
    return {name: one for name, one in all_of_them.items() if name in names} or all_of_them


def _methods() -> list[Method]:
    ours = [method for method in METHODS["inversion"].values() if method.name not in LONG]
    return [*ours, Method("inversion", "spinet_qsm", _spinet_qsm)]


def _spinet_qsm(local_field: Array, mask: Array, geometry: Geometry) -> Array:
    """SpiNet-QSM with its authors' weights, which were trained on COSMOS maps of other heads."""
    return learned(local_field, mask, geometry, network=_published_spinet())


@cache
def _published_spinet() -> Any:
    return convert_weights(read_checkpoint(SPINET), "spinet_qsm", {})


def fields() -> dict[str, Callable[[], Field]]:
    """All fields by label; each is made when it is called for."""
    made: dict[str, Callable[[], Field]] = {
        f"{size} mm, {angle}, {noise:g} ppm": partial(of_cosmos, size, direction, noise)
        for size in (2, 1)
        for angle, direction in DIRECTIONS.items()
        for noise in NOISES
    }
    return {MEASURED: measured, **made}


@cache
def measured() -> Field:
    """Read the measured local field and the COSMOS map, cut to the mask."""
    names = ("phs_tissue", "chi_cosmos", "msk")
    images = {name: nibabel.nifti1.load(HEAD / f"{name}.nii.gz") for name in names}
    field, truth, inside = (np.asarray(images[name].dataobj, np.float32) for name in names)
    mask = inside > 0
    box = box_around(mask)
    geometry = Geometry(images["msk"].header.get_zooms(), (0.0, 0.0, 1.0))
    field, truth, mask = (cut(volume, box) for volume in (field * mask, truth * mask, mask))
    return Field(jnp.asarray(field), jnp.asarray(mask), geometry, jnp.asarray(truth))


@cache
def of_cosmos(size: int, direction: tuple[float, float, float], noise: float) -> Field:
    """Make the field of the COSMOS map, in blocks of ``size`` voxels, with white noise in ppm."""
    head = measured()
    field = dipole_field(head.truth, Geometry(head.geometry.voxel_size, direction))
    field = field + noise * size**1.5 * jax.random.normal(jax.random.key(0), field.shape)
    field, truth, inside = (_blocks(v, size) for v in (field, head.truth, head.mask.astype(field.dtype)))
    mask = inside > 0.5
    geometry = Geometry(np.asarray(head.geometry.voxel_size) * size, direction)
    return Field(field * mask, mask, geometry, truth * mask)


def _blocks(volume: Float[Array, "x y z"], size: int) -> Float[Array, "X Y H"]:
    shape = tuple(n // size for n in volume.shape)
    x, y, z = (n * size for n in shape)
    split = volume[:x, :y, :z].reshape(shape[0], size, shape[1], size, shape[2], size)
    return split.mean((1, 3, 5))


def _cell(method: Method, given: Field, *, full: bool) -> Cell:
    """Score a method with default and typical weight; in ``full`` also with the best of a grid, and timed."""
    typical = method.typical_weight
    score = partial(_score, method, given, timed=full)
    if typical is None:
        return {"default": score({})}
    search = partial(method.settled, given.field, given.mask, given.geometry, {})
    chosen = float(search()["weight"])
    cell = {"default": score({"weight": chosen}), "typical": score({"weight": typical})}
    if full:
        cell["default"]["seconds"] = round(cell["default"]["seconds"] + _seconds(search), 1)
        at = cache(lambda step: score({"weight": chosen * FACTOR**step}))
        cell["best"] = at(downhill(lambda step: float(np.nan_to_num(at(step)["nrmse"], nan=np.inf))))
    return cell


def _score(method: Method, given: Field, options: Mapping[str, Any], *, timed: bool) -> dict[str, float]:
    solve = partial(method.function, given.field, given.mask, given.geometry, **options)
    chi = np.asarray(solve())
    found, _ = score_arrays(chi, np.asarray(given.truth), np.asarray(given.mask))
    kept = {name: round(float(found[name]), 4) for name in ("nrmse", "hfen", "xsim", "coverage")}
    return kept | ({"seconds": _seconds(solve)} if timed else {}) | dict(options)


def _seconds(compiled: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(compiled())
    return round(time.perf_counter() - start, 1)


def _write(record: Mapping[str, Mapping[str, Cell]]) -> None:
    row = record.get(MEASURED, {})
    parts = [READING, f"![Maps of the measured field, ± {GREY} ppm](measured.png)\n", _measured_table(row)]
    parts += [_made_table(record, size) for size in (2, 1)]
    write_page("measured", "Inversions of a measured field", "python -m benchmarks.measured", *parts)


def _measured_table(row: Mapping[str, Cell]) -> str:
    lines = [
        "## The measured field\n",
        "| method | weight | NRMSE % | HFEN % | XSIM | coverage | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows: list[tuple[Any, ...]] = [
        (scores["nrmse"], f"`{name}`", choice, scores["hfen"], scores["xsim"], scores)
        for name, cell in row.items()
        for choice, scores in cell.items()
    ]
    rows += [(n, f"*{name}*", "*published*", h, x, {}) for name, (n, h, x) in PUBLISHED.items()]
    for nrmse, name, choice, hfen, xsim, scores in sorted(rows, key=lambda row: row[0]):
        if "weight" in scores:
            choice = f"{choice}, {scores['weight']:.2g}"
        values = [f"{nrmse:.1f}", _cell_text(hfen, ".1f"), _cell_text(xsim, ".2f")]
        values += [_cell_text(scores.get("coverage"), ".2f"), _cell_text(scores.get("seconds"), ".0f")]
        lines.append(f"| {name} | {choice} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


def _cell_text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _made_table(record: Mapping[str, Mapping[str, Cell]], size: int) -> str:
    labels = [label for label in fields() if label.startswith(f"{size} mm") and record.get(label)]
    if not labels:
        return ""
    heads = [label.partition(", ")[2] for label in labels]
    lines = [
        f"## Fields of the COSMOS map, {size} mm\n",
        "NRMSE in percent over the whole mask, default / typical weight.\n",
        "| method | " + " | ".join(heads) + " |",
        "| --- |" + " --- |" * len(heads),
    ]
    for method in _methods():
        cells = [record[label].get(method.name, {}) for label in labels]
        if any(cells):
            texts = [
                " / ".join(f"{c[k]['nrmse']:.1f}" for k in ("default", "typical") if k in c) for c in cells
            ]
            lines.append(f"| `{method.name}` | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def draw(record: Mapping[str, Mapping[str, Cell]], path: Path) -> None:
    """Draw the middle slice of the truth and of the best maps of the measured field, as PNG."""
    row = record.get(MEASURED, {})
    given, methods = measured(), {method.name: method for method in _methods()}
    chosen = {name: min(cell, key=lambda choice: cell[choice]["nrmse"]) for name, cell in row.items()}
    names = sorted(row, key=lambda name: row[name][chosen[name]]["nrmse"])[:7]
    maps = {"COSMOS": given.truth}
    for name in names:
        scores = row[name][chosen[name]]
        options = {"weight": scores["weight"]} if "weight" in scores else {}
        chi = methods[name].function(given.field, given.mask, given.geometry, **options)
        maps[f"{name}, {chosen[name]}: {scores['nrmse']:.1f} %"] = chi
    rows = -(-len(maps) // 4)
    figure = Figure(figsize=(13, 3.9 * rows), layout="constrained", facecolor="#111418")
    for panel, (title, volume) in zip(figure.subplots(rows, 4).ravel(), maps.items(), strict=False):
        middle = np.asarray(volume)[:, :, volume.shape[2] // 2]
        panel.imshow(middle.T, cmap="gray", vmin=-GREY, vmax=GREY, origin="lower")
        panel.set_title(title, color="#d7dde4", fontsize=10)
    for panel in figure.axes:
        panel.set_axis_off()
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main(sys.argv[1:])
