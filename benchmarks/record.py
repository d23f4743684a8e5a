"""Where benchmarks write, and who, when and on what made a page."""

from __future__ import annotations

import datetime
import platform
from pathlib import Path

import jax

import jaxqsm

RESULTS = Path(__file__).parents[1] / "results"
"""Folder of everything that benchmarks write; the documentation reads it."""


def stamp(command: str) -> str:
    """One line: the command that makes a page, the day, the versions and the machine."""
    device = jax.devices()[0]
    return (
        f"*Made by `{command}` on {datetime.date.today():%d %B %Y} with jaxqsm {jaxqsm.__version__}, jax "
        f"{jax.__version__}, on {len(jax.devices())} × {device.device_kind} ({platform.machine()}, "
        f"{platform.system()}).*\n"
    )


def write_page(name: str, title: str, command: str, *parts: str) -> None:
    """Write ``results/NAME.md``: a title, the stamp, and the parts."""
    text = "\n".join([f"# {title}\n", stamp(command), *parts])
    (RESULTS / f"{name}.md").write_text(text.rstrip() + "\n", encoding="utf-8")
