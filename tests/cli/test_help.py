"""Help says what a command takes, and no more."""

import inspect
import subprocess
import sys
from io import StringIO

import pytest
from rich.console import Console

from jaxqsm.cli.app import app


def _help(*command: str) -> str:
    text = StringIO()
    app.help_print(list(command), console=Console(file=text, width=100))
    return text.getvalue()


@pytest.mark.parametrize("command", [name for name in app if not name.startswith("-")])
def test_defaults_are_as_a_person_would_write_them(command):
    text = _help(command)
    assert "Usage: jaxqsm" in text
    for noise in ("--no-", "--empty-", "[default: None]", "[default: ()]", "[default: False]"):
        assert noise not in text


def test_a_total_field_needs_no_inversion():
    assert "--inversion" in _help("run")
    assert "--unwrapping" in _help("field")
    assert "--inversion" not in _help("field")
    assert "--uncertainty" not in _help("field")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_an_answer_about_usage_does_not_wait_for_jax(arguments):
    asked = (
        "import sys\nfrom jaxqsm.cli import main\n"
        f"try:\n    main({arguments})\nexcept SystemExit:\n    print('|', *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    imported = set(done.stderr.rpartition("|")[2].split())
    assert "jaxqsm.cli.app" in imported
    assert not imported & {"jax", "numpy", "scipy", "flax", "matplotlib", "nibabel", "numba", "skimage"}


def test_help_describes_every_command_as_its_docstring_does():
    listed = " ".join(_help().split())
    for command in (app[name] for name in app if not name.startswith("-")):
        summary = inspect.getdoc(command.default_command).partition("\n\n")[0]
        assert command.help.startswith(summary)
        assert summary.split()[0] in listed
