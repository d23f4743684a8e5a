"""Fixtures that many tests use."""

from __future__ import annotations

import os

import jax
import pytest

from jaxqsm.cli.memory import forget_compiled_code

UNOPTIMISED = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)
"""Two thirds of the quick suite's time is compilation, which takes a third so long with these. Programs are
the same and run slower. The slow tests, and whoever sets XLA_FLAGS, compile as users do."""


def pytest_configure(config):
    if config.option.markexpr == "not slow":  # before the first array, so that XLA reads it
        os.environ.setdefault("XLA_FLAGS", " ".join(UNOPTIMISED))


@pytest.fixture
def x64():
    """Double precision, for comparisons with finite differences and other programs."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_code():
    yield
    forget_compiled_code()
