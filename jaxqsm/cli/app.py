"""The commands and what they have in common: caches, exit codes, errors in one line."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cyclopts
import jax
import platformdirs

import jaxqsm
from jaxqsm.cli import console
from jaxqsm.cli.background import background
from jaxqsm.cli.bids import bids
from jaxqsm.cli.convert import convert
from jaxqsm.cli.demo import demo
from jaxqsm.cli.evaluate import evaluate
from jaxqsm.cli.field import field
from jaxqsm.cli.invert import invert
from jaxqsm.cli.mask import mask
from jaxqsm.cli.methods import methods
from jaxqsm.cli.orientations import cosmos, sti
from jaxqsm.cli.r2star import r2star
from jaxqsm.cli.roi import roi
from jaxqsm.cli.run import run
from jaxqsm.cli.separate import separate
from jaxqsm.cli.simulate import simulate
from jaxqsm.cli.stress import evaluation_set, stress
from jaxqsm.cli.swi import swi
from jaxqsm.cli.train import train
from jaxqsm.cli.unwrap import unwrap
from jaxqsm.io import InputError


def _shown(default: Any) -> str | None:
    """A default as a person would write it; nothing where an option is off or not given."""
    if default is None or default is False or default == ():
        return None
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


app = cyclopts.App(
    name="jaxqsm",
    help="Quantitative susceptibility maps from multi-echo MRI phase.",
    version=jaxqsm.__version__,
    help_format="markdown",
    default_parameter=cyclopts.Parameter(negative="", show_default=_shown),
)
for command in (
    demo,
    run,
    bids,
    mask,
    unwrap,
    field,
    background,
    invert,
    cosmos,
    sti,
    r2star,
    roi,
    swi,
    separate,
    evaluate,
    simulate,
    evaluation_set,
    stress,
    train,
    methods,
):
    app.command(command)
app.command(convert, name="convert-weights")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 some scans failed, 2 bad input or usage, 130 interrupted."""
    _speak_any_encoding()
    _keep_compiled_code()
    try:
        status = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:
        console.fail(f"{_one_line(error)} (see jaxqsm --help)")
        sys.exit(2)
    except InputError as error:
        console.fail(_one_line(error))
        sys.exit(2)
    except KeyboardInterrupt:
        console.fail("interrupted; nothing was written")
        sys.exit(130)
    sys.exit(status or 0)


def _speak_any_encoding() -> None:
    """Replace characters that a terminal does not know, in place of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _keep_compiled_code() -> None:
    """Keep compiled code between runs where possible: the second scan of a size starts at once."""
    folder = Path(platformdirs.user_cache_dir("jaxqsm"), "xla")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
