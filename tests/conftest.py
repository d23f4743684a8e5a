"""Fixtures that many tests use."""

from __future__ import annotations

import jax
import pytest

from jaxqsm.cli.memory import forget_compiled_code


@pytest.fixture
def x64():
    """Double precision, for comparisons with finite differences and other programs."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_code():
    yield
    forget_compiled_code()
