"""The notebooks run from top to bottom, and carry the pictures of their last run."""

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


def _cells(path):
    return [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_has_its_pictures_and_no_error(path):
    outputs = [output for cell in _cells(path) for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]


def _code(path):
    return "\n".join("".join(cell["source"]) for cell in _cells(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_what_it_imports_is_there(path):
    for statement in ast.walk(ast.parse(_code(path))):
        if isinstance(statement, ast.ImportFrom):
            module = importlib.import_module(statement.module)
            assert not [alias.name for alias in statement.names if not hasattr(module, alias.name)]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs(path):
    code = _code(path)
    environment = os.environ | {"MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=900, env=environment
    )
    assert done.returncode == 0, done.stderr
