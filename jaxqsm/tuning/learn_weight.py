"""A regularisation weight that is learned from scans whose χ is known."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import MaskedVolume
from jaxqsm.tuning.choose_weight import typical_weight
from jaxqsm.variational.common import referenced

TOLERANCE = 1e-3
"""Tolerance of the solves: derivatives are those of converged solutions."""


class ReferenceScan(NamedTuple):
    """A scan whose χ is known.

    Attributes:
        field: ppm, what the method takes: the local field, or for a single step the total field.
        mask: where it is valid.
        geometry: voxel size and field direction.
        truth: χ in ppm, of a simulation or of several orientations.
        magnitude: optional, any unit.
    """

    field: Float[Array, "x y z"]
    mask: Bool[Array, "x y z"]
    geometry: Geometry
    truth: Float[Array, "x y z"]
    magnitude: Float[Array, "x y z"] | None = None


def learn_weight(
    method: Callable[..., Any],
    scans: Sequence[ReferenceScan],
    *,
    start: float | None = None,
    max_iterations: int = 15,
    learning_rate: float = 0.3,
    **options: Any,
) -> float:
    """Find the weight of least error in reference scans, by hyper-gradient descent.

    The error is differentiated through the solver: a step costs about four solves a scan. Without a truth,
    :func:`~jaxqsm.tuning.choose_weight` judges by voxels that are held out.

    Args:
        method: an inversion with a ``weight``, such as :func:`~jaxqsm.inversion.tv`, or a single step.
        scans: of any shapes; their mean relative error counts.
        start: weight to begin from. Default: the method's typical weight.
        max_iterations: of Adam on the weight's logarithm. Default 15.
        learning_rate: of the logarithm a step. Default 0.3: 15 steps reach a weight 30 times off.
        options: further keyword arguments of the method. Default tolerance: 1e-3, where it takes one.

    Returns:
        The best weight on the way, in the method's unit, as a number of Python.

    Raises:
        ValueError: the method has no ``weight``, or there is no scan.

    References:
        Kunisch & Pock 2013, SIAM J Imaging Sci 6:938, doi:10.1137/120882706 (bilevel learning of variational
        models); Kingma & Ba 2015, arXiv:1412.6980 (Adam).

    Example:
        >>> scans = [ReferenceScan(field, mask, geometry, truth)]  # doctest: +SKIP
        >>> chi = tv(other_field, mask, geometry, weight=learn_weight(tv, scans))  # doctest: +SKIP
    """
    parameters = inspect.signature(method).parameters
    if "weight" not in parameters:
        raise ValueError(f"{getattr(method, '__name__', method)} has no weight")
    if not scans:
        raise ValueError("learn_weight needs at least one scan whose χ is known")
    if "tolerance" in parameters:
        options = {"tolerance": TOLERANCE} | options

    @jax.jit
    @jax.value_and_grad
    def error(logarithm: Array, scan: ReferenceScan) -> Array:
        told = {"magnitude": scan.magnitude} if "magnitude" in parameters else {}
        solve = partial(method, scan.field, scan.mask, scan.geometry, **told, **options)
        found = solve(weight=jnp.exp(logarithm))
        chi, valid = MaskedVolume.of(found, scan.mask)
        truth = referenced(scan.truth, valid)
        return jnp.linalg.norm(referenced(chi, valid) - truth) / jnp.linalg.norm(truth)

    logarithm = jnp.log(typical_weight(method) if start is None else start)
    optimiser = optax.adam(learning_rate)
    memory = optimiser.init(logarithm)
    path: list[tuple[float, float]] = []
    for _ in range(max_iterations):
        values, slopes = zip(*(error(logarithm, scan) for scan in scans), strict=True)
        path.append((float(sum(values)), float(jnp.exp(logarithm))))
        change, memory = optimiser.update(sum(slopes) / len(scans), memory)
        logarithm = logarithm + change
    return min(path)[1]
