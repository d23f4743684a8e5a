"""Memory that a long-running process has to give back."""

from __future__ import annotations

from pathlib import Path

import jax

MANY_MAPPINGS = 20_000
"""Memory mappings to forget at. Linux allows a process 65 530, and XLA crashes beyond."""


def forget_compiled_code() -> None:
    """Forget what is compiled, once it is much; volumes of another shape each take some hundred mappings."""
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > MANY_MAPPINGS:
        jax.clear_caches()
