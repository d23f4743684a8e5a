"""Iterations that say how they ended, to whoever asks from outside of the functions that run them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, ArrayLike, Bool, Float, Int

Result = TypeVar("Result")


class Convergence(NamedTuple):
    """End of an iteration.

    Attributes:
        iterations: that were done.
        change: the last relative change, or the residual over the right-hand side; NaN where it is not known.
        tolerance: below which the change had to fall; NaN where the number of iterations is the method's own,
            which regularise by stopping early.
    """

    iterations: Int[Array, ...]
    change: Float[Array, ...]
    tolerance: Float[Array, ...]

    @property
    def converged(self) -> Bool[Array, ...]:
        """Check that the change fell below the tolerance; true where there is none."""
        return jnp.isnan(self.tolerance) | (self.change <= self.tolerance)


def noted(
    value: Result, iterations: ArrayLike, change: ArrayLike = math.nan, tolerance: ArrayLike = math.nan
) -> Result:
    """Return the ``value`` of an iteration, and leave a note of how it ended for :func:`with_convergence`.

    A note costs nothing: it compiles to its value.

    Args:
        value: any pytree of arrays.
        iterations, change, tolerance: see :class:`Convergence`.
    """
    first, *rest = jax.tree.leaves(value)
    figures = (jnp.asarray(iterations, int), *(jnp.asarray(f, first.dtype) for f in (change, tolerance)))
    ended = (jax.lax.stop_gradient(figure) for figure in figures)
    return jax.tree.unflatten(jax.tree.structure(value), [_note.bind(first, *ended), *rest])


def with_convergence(function: Callable[..., Any]) -> Callable[..., tuple[Any, tuple[Convergence, ...]]]:
    """Make a function that also returns how its iterations ended, in the order of their ends.

    Of any function of this package or around it: ``tv``, ``pdf``, a whole ``reconstruct``. Iterations within
    loops of others, such as those of a search for a weight, are left out. The result is that of the function;
    take derivatives of the function itself.

    Args:
        function: of arrays by position and anything by keyword; numbers and strings are static.

    Returns:
        Function with the same arguments that returns ``(result, notes)``.

    Example:
        >>> from jaxqsm.solvers import fixed_point
        >>> halve = lambda x: fixed_point(lambda s: s / 2 + 1, x, tolerance=0.1, max_iterations=20)
        >>> result, (note,) = with_convergence(halve)(jnp.array(0.0))
        >>> int(note.iterations), bool(note.converged)
        (4, True)
    """

    def wrapped(*arguments: Any, **keywords: Any) -> tuple[Any, tuple[Convergence, ...]]:
        fixed = tuple(sorted(name for name, value in keywords.items() if not _is_dynamic(value)))
        found: tuple[Any, tuple[Convergence, ...]] = _compiled(function, fixed)(*arguments, **keywords)
        return found

    return wrapped


def _is_dynamic(value: Any) -> bool:
    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(hasattr(leaf, "dtype") for leaf in leaves)


@cache
def _compiled(function: Callable[..., Any], fixed: tuple[str, ...]) -> Callable[..., Any]:
    def evaluated(*arguments: Any, **keywords: Any) -> tuple[Any, tuple[Convergence, ...]]:
        static = {name: keywords.pop(name) for name in fixed}
        called = partial(function, **static)
        closed, shapes = jax.make_jaxpr(called, return_shape=True)(*arguments, **keywords)
        results, notes = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves((arguments, keywords)))
        return jax.tree.unflatten(jax.tree.structure(shapes), results), tuple(notes)

    return jax.jit(evaluated, static_argnames=fixed)


def _evaluate(
    jaxpr: core.Jaxpr, constants: Sequence[Any], arguments: Sequence[Any]
) -> tuple[list[Any], list[Convergence]]:
    """Evaluate a program, and collect its notes and those of what it calls."""
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))
    notes: list[Convergence] = []
    for equation in jaxpr.eqns:
        given = [v.val if isinstance(v, core.Literal) else values[v] for v in equation.invars]
        if equation.primitive is _note:
            results = [given[0]]
            notes.append(Convergence(*given[1:]))
        elif (program := _called(equation)) is not None:
            results, more = _of_call(equation, program, given)
            notes += more
        else:
            results = _bound(equation.primitive, equation.params, given)
        values.update(zip(equation.outvars, results, strict=True))
    return [v.val if isinstance(v, core.Literal) else values[v] for v in jaxpr.outvars], notes


def _bound(operation: Any, parameters: Mapping[str, Any], given: list[Any]) -> list[Any]:
    """Apply an operation of JAX as it stands."""
    to_bind = operation.get_bind_params(parameters)
    # Before jax 0.10 the functions that it calls come apart.
    functions, parameters = to_bind if isinstance(to_bind, tuple) else ((), to_bind)
    results = operation.bind(*functions, *given, **parameters)
    return list(results) if operation.multiple_results else [results]


CALLS = frozenset(
    {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat2", "checkpoint"}
)
"""Operations of JAX that call one program with their own arguments."""


def _called(equation: core.JaxprEqn) -> core.ClosedJaxpr | None:
    """Find the program that an operation calls once, if it calls one that has notes."""
    if equation.primitive.name == "custom_linear_solve":
        program = equation.params["jaxprs"].solve
    elif equation.primitive.name in CALLS | {"scan"}:
        program = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    else:
        return None
    closed = program if isinstance(program, core.ClosedJaxpr) else core.ClosedJaxpr(program, ())
    return closed if _has_notes(closed.jaxpr) else None


def _has_notes(jaxpr: core.Jaxpr) -> bool:
    return any(e.primitive is _note or _called(e) is not None for e in jaxpr.eqns)


def _of_call(
    equation: core.JaxprEqn, program: core.ClosedJaxpr, given: list[Any]
) -> tuple[list[Any], list[Convergence]]:
    """Evaluate an operation that calls a program with notes."""
    called = partial(_evaluate, program.jaxpr, program.consts)
    if equation.primitive.name == "scan":
        return _of_scan(equation.params, called, given)
    if equation.primitive.name == "custom_linear_solve":
        before = equation.params["const_lengths"]
        first = before.matvec + before.vecmat
        right = given[sum(before) :]
        return called([*given[first : first + before.solve], *right])
    return called(given)


def _of_scan(
    parameters: Mapping[str, Any], called: Callable[..., Any], given: list[Any]
) -> tuple[list[Any], list[Convergence]]:
    """Evaluate a loop; the notes of its last round are kept."""
    constants = given[: parameters["num_consts"]]
    count = parameters["num_carry"]
    begin, rows = given[len(constants) : len(constants) + count], given[len(constants) + count :]

    def once(carry: list[Any], row: list[Any]) -> tuple[list[Any], Any]:
        results, notes = called([*constants, *carry, *row])
        return results[:count], (results[count:], notes)

    options = {name: parameters[name] for name in ("length", "reverse", "unroll")}
    carry, (stacked, notes) = jax.lax.scan(once, begin, rows, **options)
    last = 0 if parameters["reverse"] else -1
    ended = jax.tree.map(lambda figures: figures[last], notes) if parameters["length"] else []
    return [*carry, *stacked], ended


_note: Any = core.Primitive("convergence")
_note.def_impl(lambda value, *figures: value)
_note.def_abstract_eval(lambda value, *figures: value)
mlir.register_lowering(_note, lambda context, value, *figures: [value])


def _derivative(primals: Any, tangents: Any) -> Any:
    return _note.bind(*primals), tangents[0]


def _of_batch(arguments: Any, axes: Any) -> Any:
    size = next(a.shape[axis] for a, axis in zip(arguments, axes, strict=True) if axis is not None)
    front = [_in_front(a, axis, size) for a, axis in zip(arguments, axes, strict=True)]
    return _note.bind(*front), 0


def _in_front(array: Array, axis: int | None, size: int) -> Array:
    return jnp.broadcast_to(array, (size, *array.shape)) if axis is None else jnp.moveaxis(array, axis, 0)


def _transposed(cotangent: Any, value: Any, *figures: Any) -> Any:
    del value
    return [cotangent, *(None for _ in figures)]


ad.primitive_jvps[_note] = _derivative
ad.primitive_transposes[_note] = _transposed
batching.primitive_batchers[_note] = _of_batch
