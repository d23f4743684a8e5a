"""A regularisation weight from the data themselves."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.operators import MaskedVolume, crop
from jaxqsm.physics import dipole_field
from jaxqsm.variational.common import data_weights
from jaxqsm.variational.problem import inversion_problem, smv_filtered_by_radii

STEP = 3.0
"""Ratio of neighbouring weights that are tried."""

FIRST = 2
"""Power of the step at which the search begins, from the method's default. Too light a weight is not
converged within the tolerance, which regularises as well: the search comes from smooth maps to detailed ones.
"""

MOST = 9
"""Weights that are tried at most: four decades."""

HELD_OUT = 0.1
"""Part of the voxels whose field the inversion does not see."""

BLOB = 2.0
"""Standard deviation in voxels of the Gaussian whose smoothed noise shapes the held-out regions. Errors of
measured fields are alike in neighbouring voxels: single voxels are predicted by an image that fits them."""

LITTLE = 1e-3
"""Magnitude of held-out voxels, as a part: no weight, yet a single step finds their field in SMV kernels
around."""

FILLINGS = 15
"""Rounds of filling held-out voxels by the prediction. Each leaves of its error the voxel's part in its own
prediction, the larger, the smaller the weight: too few would make small weights look bad."""

SCORED_RADII = (8.0, 4.0, 2.0)
"""Radii in mm of the SMV kernels that a single step is scored with."""


def choose_weight(
    method: Callable[..., Any],
    field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    key: PRNGKeyArray | None = None,
    **options: Any,
) -> float:
    """Find the regularisation weight whose χ best predicts held-out regions of the field.

    A tenth of the voxels, in random regions a few voxels wide, get no weight in the data term. Too small a
    weight fits the errors of the rest, too large a one not even their field: both predict the held-out field
    badly. Regions, not single voxels, since errors that are smooth (residual background, frequency shifts)
    predict each other from voxel to voxel. Of a method from total field to χ the SMV-filtered field is
    scored, which no background passes. Weights are tried downhill in steps of 3 from nine times the method's
    default, each begun at the map of its neighbour; the lowest and its neighbours make a parabola.

    A method without a data term of its own weights, as :func:`~jaxqsm.inversion.tikhonov`, has its own
    prediction there.

    Args:
        method: an inversion with a ``weight``, such as :func:`~jaxqsm.inversion.tv`,
            :func:`~jaxqsm.inversion.medi` or :func:`~jaxqsm.inversion.l1_qsm`; or a single step, which gives
            χ and mask, such as :func:`~jaxqsm.single_step.ss_tv`.
        field: ppm, shape ``(x, y, z)``: what the method takes, local or total.
        mask: where it is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        key: of the draw; default ``jax.random.key(0)``.
        options: further keyword arguments of the method.

    Returns:
        The weight, in the method's unit, and a number of Python: compute it before tracing. It takes three
        solves or more. Measured against the best weight of a grid in ``results/chosen_weights.md`` and,
        on a measured field, in ``results/measured.md``.

    Raises:
        ValueError: the method has no ``weight``.

    References:
        Stone 1974, J R Stat Soc B 36:111, doi:10.1111/j.2517-6161.1974.tb00994.x (cross-validation);
        Roberts et al. 2017, Ecography 40:913, doi:10.1111/ecog.02881 (blocks for correlated errors).

    Example:
        >>> weight = choose_weight(tv, field, mask, geometry)  # doctest: +SKIP
        >>> chi = tv(field, mask, geometry, weight=weight)  # doctest: +SKIP
    """
    parameters = inspect.signature(method).parameters
    if "weight" not in parameters:
        raise ValueError(f"{getattr(method, '__name__', method)} has no weight")
    sure = data_weights(mask, weights, magnitude)
    key = jax.random.key(0) if key is None else key
    held_out = _regions(mask, key)
    if "magnitude" in parameters:
        options = {"magnitude": magnitude} | options
    shown = jnp.where(held_out, LITTLE, 1) * sure
    known: dict[int, float] = {}
    maps: dict[int, Any] = {}

    def solved(step: int) -> Any:
        if "weights" in parameters:
            near = maps.get(step - 1, maps.get(step + 1))
            begun = {"start": near} if near is not None and "start" in parameters else {}
            keywords = options | begun
            return method(field, mask, geometry, weights=shown, weight=weight(step), **keywords)
        filled = jnp.where(held_out, 0, field)
        for _ in range(FILLINGS):
            chi = method(filled, mask, geometry, weight=weight(step), **options)
            predicted = dipole_field(chi, geometry)
            offset = jnp.sum(shown * (field - predicted)) / jnp.maximum(jnp.sum(shown), 1e-30)
            filled = jnp.where(held_out, predicted + offset, field)
        return chi

    def misfit(step: int) -> float:
        if step not in known:
            found = solved(step)
            maps[step], valid = MaskedVolume.of(found, mask)
            residual = (dipole_field(maps[step], geometry) - field) * mask
            if isinstance(found, MaskedVolume):  # of a total field: without its background
                residual = _smv_filtered(residual, mask, geometry) * valid
            residual = residual - jnp.sum(residual * shown) / jnp.maximum(jnp.sum(shown), 1e-30)
            known[step] = float(jnp.sum((sure * residual) ** 2 * held_out))
        return known[step]

    def weight(step: float) -> float:
        return parameters["weight"].default * STEP**step

    best = FIRST
    while len(known) < MOST:
        lowest = min((best + 1, best, best - 1), key=misfit)
        if lowest == best:
            break
        best = lowest
    low, middle, high = (math.log(max(misfit(best + i), 1e-30)) for i in (-1, 0, 1))
    bend = low - 2 * middle + high
    return weight(best + (min(max(0.5 * (low - high) / bend, -1), 1) if bend > 0 else 0))


@jax.jit
def _regions(mask: Bool[Array, "x y z"], key: PRNGKeyArray) -> Bool[Array, "x y z"]:
    """Draw the regions where smoothed noise is highest, :data:`HELD_OUT` of the mask."""
    frequencies = jnp.meshgrid(*(jnp.fft.fftfreq(n) for n in mask.shape), indexing="ij")
    response = jnp.exp(-2 * (jnp.pi * BLOB) ** 2 * sum(k**2 for k in frequencies))
    smooth = jnp.fft.ifftn(response * jnp.fft.fftn(jax.random.normal(key, mask.shape))).real
    return mask & (smooth > jnp.nanquantile(jnp.where(mask, smooth, jnp.nan), 1 - HELD_OUT))


def _smv_filtered(
    field: Float[Array, "x y z"], mask: Bool[Array, "x y z"], geometry: Geometry
) -> Float[Array, "x y z"]:
    """Field filtered by the largest SMV kernel that fits about each voxel; zero where none fits."""
    each = smv_filtered_by_radii(inversion_problem(field, mask, geometry, None), SCORED_RADII)
    return crop(jnp.sum(each.field * (each.weights > 0), axis=0), mask.shape)
