"""Make the notebooks from the scripts in ``examples/``, and run them.

``python -m tools.make_notebooks [NAME ...]``. A script is in the percent format: ``# %%`` begins a cell,
``# %% [markdown]`` one of text.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jupytext
from nbconvert.preprocessors import ExecutePreprocessor

ROOT = Path(__file__).parents[1]


def main(names: list[str]) -> None:
    """Convert and execute the named examples, or all."""
    for script in sorted((ROOT / "examples").glob("*.py")):
        if names and script.stem not in names:
            continue
        notebook = jupytext.read(script)
        ExecutePreprocessor(timeout=1800, kernel_name="python3").preprocess(notebook)
        jupytext.write(notebook, ROOT / "notebooks" / f"{script.stem}.ipynb")
        print(script.stem)


if __name__ == "__main__":
    main(sys.argv[1:])
