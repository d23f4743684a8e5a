"""The commands and what they have in common: caches, exit codes, errors in one line."""

from __future__ import annotations

import ast
import io
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cyclopts
import platformdirs

import jaxqsm
from jaxqsm.cli import console
from jaxqsm.io import InputError

COMMANDS = {
    "demo": "demo",
    "run": "run",
    "bids": "bids",
    "mask": "mask",
    "unwrap": "unwrap",
    "field": "field",
    "background": "background",
    "invert": "invert",
    "cosmos": "orientations",
    "sti": "orientations",
    "r2star": "r2star",
    "roi": "roi",
    "swi": "swi",
    "separate": "separate",
    "evaluate": "evaluate",
    "simulate": "simulate",
    "evaluation-set": "stress",
    "stress": "stress",
    "train": "train",
    "methods": "methods",
    "convert-weights": "convert",
}
"""Modules of this folder by the command that they hold, in a function of the command's name."""


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


def _description(module: str, function: str) -> str:
    """Docstring of a command up to its parameters, read without importing it."""
    source = ast.parse(Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8"))
    (found,) = (node for node in source.body if isinstance(node, ast.FunctionDef) and node.name == function)
    return (ast.get_docstring(found) or "").partition("Parameters\n---")[0].strip()


for command, module in COMMANDS.items():
    # The module, and with it JAX, is imported when the command is given.
    function = command.replace("-", "_")
    app.command(f"jaxqsm.cli.{module}:{function}", name=command, help=_description(module, function))


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
    # JAX, which is not imported yet, reads them.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
