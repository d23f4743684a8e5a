"""What the documentation shows runs."""

import doctest
import importlib
import json
import pkgutil
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import jupytext
import numpy as np
import pytest
from flax import nnx

import jaxqsm
from jaxqsm import Acquisition, Geometry
from jaxqsm.learning import CONFIGS, LOSSES, POSTERIOR_LOSSES, read_config
from jaxqsm.learning.objective import AGAIN
from jaxqsm.methods import COMMANDS, METHODS
from jaxqsm.networks import build

ROOT = Path(__file__).resolve().parents[1]
NAMES = {"jax": jax, "jnp": jnp, "np": np, "Geometry": Geometry, "Acquisition": Acquisition}
"""What every example may use; all else is public, or imported in the example."""

MODULES = sorted(
    m.name for m in pkgutil.walk_packages(jaxqsm.__path__, "jaxqsm.") if m.name != "jaxqsm.__main__"
)
SLOW_FOLDERS = (
    "background",
    "fitting",
    "inversion",
    "multi_stage",
    "pretrained",
    "simulation",
    "single_step",
    "tuning",
    "uncertainty",
)
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/howto").glob("*.md")),
]
SIGNATURES = ("design", "contributing")
"""Pages whose code has dots for arguments."""

WITH_CODE = [
    page for page in PAGES if page.stem not in SIGNATURES and "```python" in page.read_text(encoding="utf-8")
]
SLOW_PAGES = (
    "write_a_method",
    "simulator",
    "train_on_your_data",
    "networks",
    "choose_a_weight",
    "quickstart",
)


def _blocks(page, language):
    return re.findall(
        rf"^ *```{language}\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if p.stem in SLOW_PAGES else []) for p in WITH_CODE],
)
def test_python_of_a_page_runs_from_top_to_bottom(page):
    blocks = _blocks(page, "python")
    code = "\n".join(textwrap.dedent(block) for block in blocks)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_readme_is_short_and_shows_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert text.count("python3 -m venv .venv &&") == 2


def test_training_configurations_are_valid(tmp_path):
    pages = [page for page in PAGES if _blocks(page, "toml")]
    assert pages
    paths = list(CONFIGS.glob("*.toml"))
    for number, page in enumerate(pages):
        for text in _blocks(page, "toml"):
            paths.append(tmp_path / f"{number}.toml")
            paths[-1].write_text(text)
    for path in paths:
        config = read_config(path)
        nnx.eval_shape(lambda config=config: build(config.network, config.options))
        assert set(config.losses) <= {*LOSSES, *POSTERIOR_LOSSES, *AGAIN}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n.split(".")[1] in SLOW_FOLDERS else []) for n in MODULES],
)
def test_docstring_examples_run(name):
    failed, _ = doctest.testmod(importlib.import_module(name), extraglobs=NAMES)
    assert not failed


@pytest.mark.parametrize(
    "method",
    [
        m
        for methods in (*METHODS.values(), *COMMANDS.values())
        for m in methods.values()
        if m.name != "deepbet"
    ],
    ids=lambda m: f"{m.stage}-{m.name}",
)
def test_every_method_has_an_example_a_source_and_a_use(method):
    """That of ``deepbet`` would need PyTorch."""
    text = method.function.__doc__
    examples = doctest.DocTestParser().get_examples(text)
    assert [e for e in examples if method.name in e.source and not e.options], "no example that runs"
    assert re.search(r"doi:|arXiv:|ISMRM|Workshop", method.source)
    assert "\n    Use it " in text


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_notebooks_are_made_from_the_examples(script):
    notebook = json.loads((ROOT / "notebooks" / f"{script.stem}.ipynb").read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]).strip() for cell in notebook["cells"]]
    assert sources == [cell["source"].strip() for cell in jupytext.read(script)["cells"]]
