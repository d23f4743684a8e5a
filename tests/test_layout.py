"""The house is as the design says: what may import what, and where a method is."""

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import jaxqsm
from jaxqsm.methods import COMMANDS, METHODS
from jaxqsm.networks import NETWORKS

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    m.name for m in pkgutil.walk_packages(jaxqsm.__path__, "jaxqsm.") if m.name != "jaxqsm.__main__"
)
EVERY = [method for methods in (*METHODS.values(), *COMMANDS.values()) for method in methods.values()]


def _rows():
    """Folders by their row of the table in the design."""
    table = re.findall(r"^\| \d+ \| (.+?) \|", (ROOT / "docs" / "design.md").read_text(), re.MULTILINE)
    return {
        name.removesuffix("/").removesuffix(".py"): number
        for number, cell in enumerate(table)
        for name in re.findall(r"`([\w./]+)`", cell)
    }


ROWS = _rows()


def test_every_folder_is_in_the_table_and_every_row_is_a_folder():
    assert {name.split(".")[1] for name in MODULES} == set(ROWS)


@pytest.mark.parametrize("name", MODULES)
def test_folders_import_only_from_rows_above(name):
    folder = name.split(".")[1]
    source = Path(importlib.util.find_spec(name).origin).read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxqsm":
            assert not node.level
            parts = node.module.split(".")
            for other in [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]:
                if other in ROWS and other != folder:
                    assert ROWS[other] < ROWS[folder], f"{name} imports {other}"


@pytest.mark.parametrize("method", EVERY, ids=lambda m: f"{m.stage}-{m.name}")
def test_a_method_is_one_file_and_is_imported_from_where_the_registry_says(method):
    package, _, name = method.path.rpartition(".")
    assert getattr(importlib.import_module(package), name) is method.function
    assert inspect.unwrap(method.function).__module__ == f"{package}.{name}"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_where_the_registry_says(name):
    folder, module, _ = NETWORKS[name].path.split(".")
    assert folder in ("published", "ours")
    assert module == name
    assert NETWORKS[name].module.__module__ == f"jaxqsm.networks.{folder}.{module}"


def test_tests_mirror_the_package():
    rooms = {
        path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.glob("test_*.py"))
    }
    assert rooms - {"notebooks"} <= {name.split(".")[1] for name in MODULES}
