"""Two algorithms for one thing: the host's where the CPU computes, another on accelerators."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp


def host_on_cpu(host: Callable[..., Any], device: Callable[..., Any], kind: Any, *arrays: Any) -> Any:
    """Call ``host`` where arrays are on the CPU, and ``device`` where they are on a GPU or TPU.

    Under ``jit`` and ``vmap`` the former is a callback, and the choice is made when the program is compiled
    for a platform. No gradient passes.

    Args:
        host: of NumPy arrays, to NumPy arrays; a function of a module.
        device: the same of JAX arrays; a function of a module.
        kind: shapes and types of what they return, a pytree of :class:`jax.ShapeDtypeStruct`.
        *arrays: what they take.
    """
    if not any(isinstance(array, jax.core.Tracer) for array in arrays):
        platforms = {d.platform for a in arrays if isinstance(a, jax.Array) for d in a.devices()}
        if (platforms or {jax.default_backend()}) == {"cpu"}:
            return jax.tree.map(jnp.asarray, host(*arrays))
        return _compiled(device)(*arrays)

    def called_back(*given: Any) -> Any:
        return jax.pure_callback(host, kind, *given, vmap_method="sequential")

    still = jax.tree.map(jax.lax.stop_gradient, arrays)
    return jax.lax.platform_dependent(*still, cpu=called_back, default=device)


def branch(condition: Any, if_true: Callable[..., Any], if_false: Callable[..., Any], *arrays: Any) -> Any:
    """Call one of two functions: as :func:`jax.lax.cond`, but as Python where the condition is known.

    So what :func:`host_on_cpu` calls in them is called itself, and compiled into nothing.
    """
    if isinstance(condition, jax.core.Tracer):
        return jax.lax.cond(condition, if_true, if_false, *arrays)
    return (if_true if condition else if_false)(*arrays)


@cache
def _compiled(device: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(device)
