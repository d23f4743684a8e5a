"""jaxqsm train: networks from configurations."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import time
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

from jaxqsm.cli import console
from jaxqsm.cli.choices import configuration
from jaxqsm.io import InputError
from jaxqsm.learning import CONFIGS, Report, read_config
from jaxqsm.networks import read_notes


def train(
    config: Annotated[str, configuration()],
    /,
    *,
    out: Path,
    data: Path | None = None,
    time_limit: float | None = None,
) -> int | None:
    """Train a network on simulated scans or your own, or go on with a training that was stopped.

    Writes weights.safetensors, those of the best validation (jaxqsm invert --method learned --set
    checkpoint=FILE), log.jsonl, events for TensorBoard (tensorboard --logdir OUT) and checkpoints/, from
    which the same command goes on after it was stopped at any moment. Batches are split over all devices, and
    data.batch_size must be a multiple of their number; without a GPU or TPU, over as many cores as divide it.

    Parameters
    ----------
    out
        Folder of the run.
    data
        Folder of scans of your own, in place of simulated ones: files that end in localfield, chimap and mask
        (.nii.gz), or as jaxqsm bids names them; fields alone for losses that need no χ. Subjects (sub-) are
        either trained on or held out.
    time_limit
        Minutes, after which it stops at the next checkpoint, as on a machine that is lent for a time; the
        same command goes on.
    """
    for module in ("orbax", "tensorboardX"):
        if importlib.util.find_spec(module) is None:
            raise InputError(f"jaxqsm train needs {module}: pip install 'jaxqsm[learning]'")
    from tensorboardX import SummaryWriter

    from jaxqsm.learning.training import WEIGHTS
    from jaxqsm.learning.training import train as steps

    path = CONFIGS / f"{config}.toml" if "/" not in config and not config.endswith(".toml") else Path(config)
    if not path.exists():
        names = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.toml")))
        raise InputError(f"{config}: no such file; give a TOML file, or one of {names}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        Remaining(),
    )
    done, started = 0, time.monotonic()
    try:
        run = read_config(path)
        if data is not None:
            scans = str(data.resolve())
            run = dataclasses.replace(run, data=dataclasses.replace(run.data, scans=scans))
        _spread_over_cores(run.data.batch_size)
        with Progress(*columns, console=console.terminal()) as progress:
            task = progress.add_task("training", total=run.steps)
            with SummaryWriter(str(out), max_queue=50) as events:
                for report in steps(run, out, base=path.parent, announce=console.note):
                    done = report.step
                    progress.update(task, completed=done, description=f"loss {report.loss:.3f}")
                    _record(events, report)
                    if report.validation is not None:
                        scored = f"validation {100 * report.validation:.2f} %"
                        console.note(f"  step {done:<7}loss {report.loss:.4f}  {scored}")
                    late = time_limit is not None and time.monotonic() - started > 60 * time_limit
                    if late and done % run.checkpoint_every == 0 and done < run.steps:
                        console.note(
                            f"{time_limit:g} minutes are over at step {done}; the same command goes on"
                        )
                        return None
    except ValueError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise InputError(f"{out}: {error}; checkpoints are kept: the same command goes on") from error
    except KeyboardInterrupt:
        console.note(f"stopped after step {done}; the same command goes on from the last checkpoint")
        return 130
    kept = read_notes(out / WEIGHTS)["steps"]
    which = "the best validated ones" if run.validation else "the last ones, as nothing validates them"
    console.note(f"{out / WEIGHTS} holds the weights of step {kept} of {run.steps}, {which}")
    return None


def _spread_over_cores(batch_size: int) -> None:
    """Let JAX, which has not started, see cores as devices: each with examples of its own is quickest."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    cores = os.cpu_count() or 1
    jax.config.update("jax_num_cpu_devices", max(n for n in range(1, cores + 1) if batch_size % n == 0))


def _record(events, report: Report) -> None:
    events.add_scalar("loss", report.loss, report.step)
    events.add_scalar("learning_rate", report.learning_rate, report.step)
    if report.validation is None or report.panels is None:
        return
    events.add_scalar("validation/error", report.validation, report.step)
    field, out, target, error = report.panels
    limits = np.abs(field).max(), np.abs(target).max(), np.abs(target).max(), np.abs(target).max()
    row = [
        np.clip(0.5 + 0.5 * panel.T[::-1] / max(limit, 1e-9), 0, 1)
        for panel, limit in zip((field, out, target, error), limits, strict=True)
    ]
    events.add_image("field, prediction, target, error", np.hstack(row)[None], report.step)
    events.flush()
