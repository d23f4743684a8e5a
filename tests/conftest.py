"""Fixtures that many tests use."""

from __future__ import annotations

import jax
import pytest


@pytest.fixture
def x64():
    """Double precision, for comparisons with finite differences and other programs."""
    with jax.enable_x64(True):
        yield
