"""Methods whose weight follows the data where none is given."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from jaxqsm.tuning.choose_weight import choose_weight
from jaxqsm.tuning.held_out import HELD_OUT_SIZE

Found = TypeVar("Found")


def weight_from_data(
    typical: float, *, held_out_size: float = HELD_OUT_SIZE, follow: Callable[..., Any] | None = None
) -> Callable[[Callable[..., Found]], Callable[..., Found]]:
    """Let :func:`choose_weight` find the ``weight`` of a method where it is None, its default.

    Stands beneath ``jax.jit``, so that search and solve are compiled at once.

    Args:
        typical: weight that the search begins from, in the method's unit; also that of solves inside other
            methods, where the best weight matters little.
        held_out_size: as for :func:`choose_weight`. Default 2.
        follow: rule that finds the weight in place of a search of its own
            (:func:`~jaxqsm.tuning.choose_weight.in_proportion`). Default: none.

    Returns:
        The decorator. What it makes has the attributes ``typical_weight``, ``held_out_size`` and
        ``follow``.

    Example:
        >>> @weight_from_data(0.1)
        ... def weighted(field, mask, geometry, *, weight):
        ...     return weight * field
        >>> weighted(2.0, None, None, weight=0.5), weighted.typical_weight
        (1.0, 0.1)
    """

    def decorated(method: Callable[..., Found]) -> Callable[..., Found]:
        signature = inspect.signature(method)

        @functools.wraps(method)
        def with_weight(*scan: Any, weight: Any = None, **options: Any) -> Found:
            if weight is not None:
                return method(*scan, weight=weight, **options)
            given = signature.bind(*scan, weight=None, **options).arguments
            field, mask, geometry = (given.pop(name) for name in list(signature.parameters)[:3])
            others = {name: value for name, value in given.items() if name not in ("weight", "start")}
            chosen = choose_weight(with_weight, field, mask, geometry, **others)
            return method(*scan, weight=chosen, **options)

        parameters = [
            p.replace(default=None, annotation="float | None") if p.name == "weight" else p
            for p in signature.parameters.values()
        ]
        with_weight.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        with_weight.typical_weight = typical  # type: ignore[attr-defined]
        with_weight.held_out_size = held_out_size  # type: ignore[attr-defined]
        with_weight.follow = follow  # type: ignore[attr-defined]
        return with_weight

    return decorated
