"""The prose is as ``docs/language.md`` asks: the field's words, plain openings, references that resolve."""

import ast
import importlib
import pkgutil
import re
import sys
from pathlib import Path

import pytest

import jaxqsm
from jaxqsm.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "jaxqsm"
FILES = sorted(PACKAGE.rglob("*.py"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
PAGES += sorted((ROOT / "docs" / "howto").glob("*.md"))
PAGES = [page for page in PAGES if page.stem not in ("design", "language")]

OPENING = re.compile(r"(Of|What|How|Where|When|Whether|Why|Raises)\b")
FORBIDDEN = re.compile(
    r"tightness|\bknee\b|sparing edges|edges are free|off the edges|\b(?:whole|wrong) turns?\b|δ − ball|"
    r"behind (?:a |the |several )?balls?\b|left[- ]over\b|passed over|do(?:es)? not exist|another person|"
    r"\bbelie(?:f|ve|ved|ves)\b|we recommend|head tilted",
    re.IGNORECASE,
)
"""Words of ours for which the field has its own, or that say nothing."""

FIGURE = re.compile(
    r"(?:error|NRMSE|XSIM|Dice|coverage)[^.]{0,60}\d(?:\.\d+)? %|\d(?:\.\d+)? % instead of|head phantom at \d"
)
"""A measured result, which belongs into ``results/``."""

WORDS = """
Abort Adapt Add Alternate Append Apply Approximate Average Build Call Carry Centre Check Choose
Collect Combine Complete Compute Convert Convolve Copy Correct Correlate Count Crop Cut Denoise
Describe Detect Divide Draw Erode Estimate Evaluate Explain Extract Fill Filter Find Fit Forget
Format Generate Give Grow Interpolate Invert Iterate Join Keep Let Limit List Load Look Make Map Mark
Measure Minimise Move Multiply Name Pack Pad Paint Parse Permute Predict Print Project Propagate Put Read
Rearrange Recognise Reconstruct Reference Refuse Register Remove Reorder Repeat Replace Require
Return Rotate Run Sample Save Scale Score Segment Separate Set Show Shrink Simulate Smooth Solve
Split Spread Stack Start State Step Stream Stress Subtract Sum Summarise Surround Take Train
Transform Unpad Unwrap Update Warn Wrap Write Yield
"""
VERBS = frozenset(WORDS.split())
"""First words of summaries. Another one is welcome here, if it is a verb."""


def _is_text(node):
    constant = node.value if isinstance(node, ast.Expr) else None
    return isinstance(constant, ast.Constant) and isinstance(constant.value, str)


def _documented(tree):
    """Every docstring: kind, name, text. Kinds: module, class, function, property, private, constant."""
    found = [("module", "module", ast.get_docstring(tree))]

    def visit(body, prefix):
        for number, node in enumerate(body):
            following = body[number + 1] if number + 1 < len(body) else None
            if isinstance(node, ast.FunctionDef):
                kind = "private" if node.name.startswith("_") else "function"
                if any("property" in ast.unparse(d) for d in node.decorator_list):
                    kind = "property"
                found.append((kind, prefix + node.name, ast.get_docstring(node)))
            elif isinstance(node, ast.ClassDef):
                found.append(("class", prefix + node.name, ast.get_docstring(node)))
                visit(node.body, f"{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign) and _is_text(following):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                found.append(("constant", prefix + ast.unparse(target), following.value.value))

    visit(tree.body, "")
    return [(kind, name, text) for kind, name, text in found if text]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_docstrings_of_a_file(path):
    for kind, name, text in _documented(ast.parse(path.read_text(encoding="utf-8"))):
        summary = text.strip().splitlines()[0]
        assert not OPENING.match(summary), f"{name}: {summary}"
        if kind == "function" and not name.rpartition(".")[2].startswith("__"):
            assert summary.split()[0].strip("`,.:") in VERBS, f"{name} does not begin with a verb: {summary}"
        flat = " ".join(text.split())
        assert not FORBIDDEN.search(flat), f"{name}: {FORBIDDEN.search(flat)[0]}"
        assert not FIGURE.search(flat), f"{name}: {FIGURE.search(flat)[0]}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_public_name_is_documented(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_words_of_a_page(page):
    found = FORBIDDEN.search(page.read_text(encoding="utf-8"))
    assert not found, found[0]


def test_words_of_the_help():
    for command in (name for name in app if not name.startswith("-")):
        text = app[command].help
        assert not FORBIDDEN.search(text), command
        assert not OPENING.match(text), command


def _resolves(target, module):
    parts = target.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        return _has(found, parts[length:])
    local = [module, *(value for value in vars(module).values() if isinstance(value, type))]
    return any(_has(owner, parts) for owner in local)


def _has(owner, names):
    for name in names:
        if name in getattr(owner, "__dataclass_fields__", {}):
            return True
        if not hasattr(owner, name):
            return False
        owner = getattr(owner, name)
    return True


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_cross_references_resolve(path):
    for module in pkgutil.walk_packages(jaxqsm.__path__, "jaxqsm."):
        if module.name != "jaxqsm.__main__":
            importlib.import_module(module.name)
    name = ".".join(("jaxqsm", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    if name == "jaxqsm.__main__":
        return
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r":(?:func|class|data|mod|attr|meth):`~?([\w.]+)`", text):
        assert _resolves(target, sys.modules[name]), target
