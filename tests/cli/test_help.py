"""Help says what a command takes, and no more."""

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
