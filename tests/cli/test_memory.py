"""A night of scans of many shapes does not use up what the system lets a process have."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxqsm.cli import memory

MAPPINGS = Path("/proc/self/maps")


def _mappings() -> int:
    return MAPPINGS.read_bytes().count(b"\n")


@pytest.mark.skipif(not MAPPINGS.exists(), reason="mappings of memory are counted on Linux alone")
def test_compiled_code_is_forgotten_once_it_is_much(monkeypatch):
    compiled = []

    @jax.jit
    def norm(x):
        compiled.append(x.shape)
        return jnp.linalg.norm(jnp.sin(x))

    for length in range(2, 42):
        norm(jnp.ones(length))
    before = _mappings()
    monkeypatch.setattr(memory, "MANY_MAPPINGS", before // 2)
    memory.forget_compiled_code()
    assert _mappings() < before - 40
    norm(jnp.ones(2))
    assert len(compiled) == 41
