"""jaxqsm stress and jaxqsm evaluation-set: the test bench."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jaxqsm.cli import console
from jaxqsm.cli.options import Settings, Several, settings_by_method
from jaxqsm.cli.simulate import simulate_into
from jaxqsm.evaluation import EVALUATION_SCANS, SCORES, SWEEPS, Outcome, draw_sweeps, sweep_tables
from jaxqsm.evaluation import stress as run_stress
from jaxqsm.evaluation.scans import SEED
from jaxqsm.io import InputError, refuse_existing, save_json, staging
from jaxqsm.methods import METHODS, find_method
from jaxqsm.pipeline import versions

GIVEN = {
    "unwrapping": "Methods are given the wrapped phase of the last echo. Scores are within the mask.",
    "background": "Methods are given the true total field with noise. Scores are where they are valid.",
    "single_step": "Methods are given the true total field with noise. Scores are where they are valid.",
    "inversion": "The inversion is given the true local field with noise. Scores are within the mask.",
    "uncertainty": "Methods are asked about the map of tv, from the true local field with noise.",
}

ALL_SCANS = tuple(scan.name for scan in EVALUATION_SCANS)


def stress(
    *,
    method: Annotated[tuple[str, ...], Several],
    out: Path,
    sweeps: Annotated[tuple[str, ...], Several] = (),
    voxel_size: float = 1.0,
    quick: bool = False,
    settings: Settings = (),
    overwrite: bool = False,
) -> None:
    """Run methods of one stage through sweeps of χ, texture, voxels, tilt, noise, mask and lesion.

    Writes stress.md (tables), stress.png (scores against each factor) and stress.json. About a quarter of an
    hour a method at 1 mm on two cores. A run that was stopped goes on when the command is given again: until
    it is done, what it has is in OUT.unfinished.json.

    Parameters
    ----------
    method
        One or more methods of unwrapping, background, single_step, inversion or uncertainty (jaxqsm methods
        lists them).
    out
        Folder for the results.
    sweeps
        Some of chi_scale, texture, voxel_size, anisotropy, tilt, snr, residual_background (only inversion and
        uncertainty), erosion, lesion. Default: all.
    voxel_size
        mm, isotropic, of the reference scan; 2 is quick.
    quick
        Only the ends of each sweep and its reference.
    settings
        Options of methods: METHOD.OPTION=VALUE, e.g. tv.weight=0.0001.
    overwrite
        Replace results that are in the folder, and do not go on with a run that was stopped.
    """
    stage = _common_stage(method)
    possible = {name: sweep for name, sweep in SWEEPS.items() if stage in sweep.stages}
    for name in sweeps:
        if name not in possible:
            raise InputError(f"--sweeps {name}: unknown for {stage}; use {', '.join(possible)}")
    if not 0.3 <= voxel_size <= 4:
        raise InputError(f"--voxel-size {voxel_size}: mm between 0.3 and 4 are needed")
    methods = [find_method(stage, name) for name in method]
    options = settings_by_method({m.name: m for m in methods}, settings)
    refuse_existing([out], overwrite=overwrite)
    chosen = [possible[name].few() if quick else possible[name] for name in sweeps or possible]
    place = out.resolve()  # . has no name
    unfinished = place.with_name(f"{place.name}.unfinished.json")
    record: dict[str, Any] = {
        "seed": SEED,
        "stage": stage,
        "voxel_size_mm": voxel_size,
        "options": options,
        "versions": versions(),
    }
    known = [] if overwrite else _known(unfinished, record)
    outcomes: list[Outcome] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with _one_line(), staging(out) as folder:
        with Progress(*columns, console=console.terminal()) as progress:
            task = progress.add_task("", total=len(methods) * sum(len(s.levels) for s in chosen))
            for outcome in run_stress(
                methods,
                chosen,
                voxel_size=voxel_size,
                options=options,
                known=known,
                announce=lambda text: progress.update(task, description=text),
            ):
                outcomes.append(outcome)
                with staging(unfinished.parent) as beside:
                    save_json(beside / unfinished.name, _with_outcomes(record, outcomes))
                progress.advance(task)
                shown = (
                    f"{heading} {outcome.scores.get(s, math.nan):.2f}" for s, heading in SCORES[stage].items()
                )
                # A line each, so that a log of a run without a terminal shows where it is.
                console.note(
                    f"  {outcome.sweep:<12}{outcome.level:<7g}{outcome.method:<20} " + "  ".join(shown)
                )
        (folder / "stress.md").write_text(_page(outcomes, stage, voxel_size), encoding="utf-8")
        draw_sweeps(outcomes, folder / "stress.png", stage)
        save_json(folder / "stress.json", _with_outcomes(record, outcomes))
    unfinished.unlink()
    console.note(f"wrote {out}: see {out / 'stress.md'} and {out / 'stress.png'}")


def _with_outcomes(record: dict[str, Any], outcomes: list[Outcome]) -> dict[str, Any]:
    return record | {"outcomes": [dataclasses.asdict(outcome) for outcome in outcomes]}


def _known(unfinished: Path, record: dict[str, Any]) -> list[Outcome]:
    """Outcomes of the same run before it was stopped."""
    if not unfinished.exists():
        return []
    try:
        found = json.loads(unfinished.read_text(encoding="utf-8"))
        outcomes = [Outcome(**outcome) for outcome in found.pop("outcomes")]
        for outcome in outcomes:  # NaN is null there
            outcome.scores.update((name, math.nan) for name, value in outcome.scores.items() if value is None)
    except (ValueError, KeyError, TypeError):
        found, outcomes = None, []
    # As JSON has it: tuples are lists there.
    if found != json.loads(json.dumps(record)):
        raise InputError(f"{unfinished}: is of another run; remove it, use another --out, or --overwrite")
    return outcomes


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Message of a method about its options (such as an unreadable checkpoint), without traceback."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error


def _common_stage(names: tuple[str, ...]) -> str:
    """The stage that all the methods are of."""
    found = [next((stage for stage in SCORES if name in METHODS[stage]), None) for name in names]
    for name, stage in zip(names, found, strict=True):
        if stage is None:
            known = ", ".join(known for stage in SCORES for known in METHODS[stage])
            raise InputError(f"--method {name}: unknown; use {known}")
        if stage != found[0]:
            raise InputError(f"--method {name}: is of {stage}, {names[0]} of {found[0]}; one stage at a time")
    return str(found[0])


def _page(outcomes: list[Outcome], stage: str, voxel_size: float) -> str:
    return (
        f"# Stress test of {', '.join(dict.fromkeys(o.method for o in outcomes))}\n\n"
        f"Reference: a simulated head at {voxel_size:g} mm, 3 T, axial, SNR 100, healthy. {GIVEN[stage]}\n\n"
        "![Scores against each factor](stress.png)\n\n" + sweep_tables(outcomes, stage)
    )


def evaluation_set(
    *,
    out: Path,
    scans: Annotated[tuple[str, ...], Several] = ALL_SCANS,
    overwrite: bool = False,
) -> None:
    """Write the evaluation set: eight simulated scans that differ in one factor each, as BIDS.

    Parameters
    ----------
    out
        Dataset folder to write.
    scans
        Some of reference, tilted, anisotropic, fine, 7t, noisy, lesions, hasty. Default: all.
    overwrite
        Replace files of that name in the folder.
    """
    by_name = {scan.name: scan for scan in EVALUATION_SCANS}
    for name in scans:
        if name not in by_name:
            raise InputError(f"--scans {name}: unknown; use {', '.join(by_name)}")
    refuse_existing([out], overwrite=overwrite)
    with staging(out) as folder:
        for name in scans:
            scan = by_name[name]
            console.note(f"sub-{name}: {scan.factor}")
            with console.stage("head phantom") as done:
                phantom = done(scan.phantom())
            simulate_into(folder, phantom, scan.protocol, seed=SEED, subject=name, key=scan.key)
    console.note(f"wrote {out}; the truth is in {out / 'derivatives' / 'truth'}")
