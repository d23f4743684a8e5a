"""What the documentation shows runs, and the folders import as the design says."""

import ast
import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
from flax import nnx

import jaxqsm
from jaxqsm.learning import CONFIGS, LOSSES, POSTERIOR_LOSSES, read_config
from jaxqsm.learning.objective import AGAIN
from jaxqsm.networks import build

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(m.name for m in pkgutil.walk_packages(jaxqsm.__path__, "jaxqsm."))

# A folder may import from folders of a smaller number, and from itself.
FLOORS = {
    **dict.fromkeys(("geometry", "operators", "physics", "metrics"), 1),
    "solvers": 2,
    **dict.fromkeys(
        (
            "unwrapping",
            "field_mapping",
            "masking",
            "background",
            "inversion",
            "phantoms",
            "relaxometry",
            "separation",
            "weighting",
        ),
        3,
    ),
    "networks": 4,
    "learning": 5,
    "fitting": 5,
    "uncertainty": 5,
    "io": 6,
    "pipeline": 7,
    "report": 8,
    "evaluation": 8,
    "cli": 9,
}
WITHIN_FLOOR = {
    ("operators", "geometry"),
    ("physics", "geometry"),
    ("physics", "operators"),
    ("inversion", "background"),
    ("inversion", "masking"),
    ("separation", "inversion"),
    ("uncertainty", "fitting"),
}


def test_python_example_of_the_readme():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("True")


@pytest.mark.parametrize(
    ("page", "count"), [pytest.param("simulator", 2, marks=pytest.mark.slow), ("networks", 1)]
)
def test_python_examples_of_pages(page, count):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.DOTALL)
    assert len(blocks) == count
    for code in blocks:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr


def test_training_configurations_are_valid(tmp_path):
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "networks.md").read_text(), re.DOTALL)
    (tmp_path / "example.toml").write_text(text)
    for path in (tmp_path / "example.toml", *CONFIGS.glob("*.toml")):
        config = read_config(path)
        nnx.eval_shape(lambda config=config: build(config.network, config.options))
        assert set(config.losses) <= {*LOSSES, *POSTERIOR_LOSSES, *AGAIN}


def test_every_docstring_example():
    tried = 0
    for name in MODULES:
        if name == "jaxqsm.__main__":
            continue
        found = importlib.import_module(name)
        failed, attempted = doctest.testmod(found)
        assert not failed, name
        tried += attempted
    assert tried > 5


@pytest.mark.parametrize("name", [m for m in MODULES if m != "jaxqsm.__main__"])
def test_folders_import_only_from_lower_floors(name):
    folder = name.split(".")[1]
    source = importlib.util.find_spec(name).origin
    for node in ast.walk(ast.parse(Path(source).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxqsm"):
            parts = node.module.split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            for other in names:
                if other in FLOORS and other != folder:
                    lower = FLOORS[other] < FLOORS[folder] or (folder, other) in WITHIN_FLOOR
                    assert lower, f"{name} imports {other}"
