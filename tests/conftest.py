"""Fixtures that many tests use."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest

MANY_MAPPINGS = 20_000
"""Of memory. Linux allows a process 65 530, and every compiled function takes some: beyond, XLA crashes."""


@pytest.fixture
def x64():
    """Double precision, for comparisons with finite differences and other programs."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_code():
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > MANY_MAPPINGS:
        jax.clear_caches()
