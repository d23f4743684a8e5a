"""The engine of all inversions with a total-variation penalty: everything but χ is split off.

Every step is then closed-form: χ by division in k-space, gradients by shortening vectors, the predicted
field Dχ voxel by voxel by whatever data term there is. Methods differ in the data term, in where the penalty
applies, and in its order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from jaxqsm.operators import (
    difference_symbols,
    divergence,
    gradient,
    irfftn,
    laplacian_symbol,
    pad,
    rfftn,
    symmetric_gradient,
    symmetric_gradient_adjoint,
)
from jaxqsm.operators.differences import Vectors
from jaxqsm.solvers import douglas_rachford
from jaxqsm.solvers import shrink as shrink_values
from jaxqsm.variational.data_terms import Proximal
from jaxqsm.variational.field_split import Harmonic, field_split
from jaxqsm.variational.least_squares import least_squares
from jaxqsm.variational.problem import InversionProblem, Volume

GRADIENT_RHO = 100.0
"""ADMM penalty parameter ρ of the split gradient ∇χ, relative to the weight. The published choice; any other
has the same solution, but takes longer to it."""

RELAXATION = 1.8
"""Length of each step. With 1, the plain iteration, χ takes about twice as many to the same error."""

FIELD_RHO = 0.1
"""ADMM penalty parameter ρ of the split field of TGV. With 1, the usual, slopes take four times as many
iterations."""

IMAGE_RHO = 1e-2
"""ADMM penalty parameter ρ of the split image."""

Shrink = Callable[[Vectors, ArrayLike], Vectors]


def total_variation_admm(
    given: InversionProblem,
    data_term: Proximal,
    *,
    weight: ArrayLike,
    shrink: Shrink = shrink_values,
    image: Proximal | None = None,
    field_rho: ArrayLike = 1.0,
    harmonic: Harmonic | None = None,
    relaxation: float = RELAXATION,
    start: Array | None = None,
    tolerance: float | None,
    max_iterations: int,
) -> Volume:
    """Minimise data term(Dχ) + weight Σ |∇χ|₁ by ADMM, or with a penalty like it.

    |∇χ|₁ is the sum of the sizes of the three differences, each between two neighbours, so that the
    solution is the same however the axes are stored.

    Args:
        given: the problem.
        data_term: proximal map of the data term at ``field_rho``, see :mod:`jaxqsm.variational.data_terms`.
        weight: ppm · mm.
        shrink: proximal map of the penalty at unit weight, from gradients and threshold; default that of the
            sum of sizes.
        image: proximal map, at ρ = :data:`IMAGE_RHO`, of what else is known of χ itself.
        field_rho: ADMM penalty parameter ρ of the split field; any has the same solution. The default 1, as
            published, moves χ at the pace of one measurement; several together can do with less.
        harmonic: another field, found along with that of χ; of one measurement.
        relaxation: of each step, see :func:`jaxqsm.solvers.douglas_rachford`.
        start: χ to begin from, on the scan's grid or the padded one; default: none.
        tolerance: relative change of the iterate at which to stop; None for exactly ``max_iterations``.
        max_iterations: bound on the iterations, of four real FFTs each, and two per further measurement
            or other field.
    """
    shape, geometry = given.shape, given.geometry
    rho = GRADIENT_RHO * jnp.asarray(weight)
    image_rho = 0.0 if image is None else IMAGE_RHO
    predicted = field_split(given, field_rho, harmonic)
    divisor = rho * laplacian_symbol(shape, geometry) + predicted.hessian + image_rho
    divisor = jnp.where(divisor > 0, divisor, 1)  # k = 0, where the numerator is zero as well

    def proximal(state: Any) -> Any:
        gradients, fields, images = state
        known = images if image is None else image(images)
        return shrink(gradients, 1 / GRADIENT_RHO), predicted.proximal(data_term, fields), known

    def nearest(state: Any) -> tuple[Volume, Any]:
        gradients, fields, images = state
        pull = -rho * divergence(gradients, geometry)
        if image is not None:
            pull = pull + image_rho * images
        measured, pulled = predicted.pull(fields)
        spectrum = (rfftn(pull) + measured) / divisor
        chi = irfftn(spectrum, shape)
        split = gradient(chi, geometry), predicted.follow(spectrum, pulled), None if image is None else chi
        return chi, split

    begun = jnp.zeros(shape, given.field.dtype) if start is None else pad(start, shape)
    gradients, fields = given.split(start)
    return douglas_rachford(
        proximal,
        nearest,
        (gradients, predicted.begin(fields), None if image is None else begun),
        relaxation=relaxation,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )


def k_space_completion(
    given: InversionProblem,
    *,
    start_iterations: int,
    threshold: ArrayLike,
    weight: ArrayLike,
    shrink: Shrink = shrink_values,
    start: Array | None = None,
    tolerance: float,
    max_iterations: int,
) -> Volume:
    """Minimise ½ Σ |χ̂ − χ̂₀|² where |D| > threshold, + weight Σ |∇χ|₁ by ADMM: k-space completion.

    χ₀ is the least-squares solution after a few iterations, well determined where the dipole kernel is large.

    Args:
        given: the problem.
        start_iterations: of the least-squares solution χ₀.
        threshold: magnitude of the kernel above which χ̂₀ is kept.
        weight: ppm · mm.
        shrink: as in :func:`total_variation_admm`.
        start: as in :func:`total_variation_admm`; default: what is known.
        tolerance: relative change of the iterate at which to stop.
        max_iterations: bound on the iterations, of two real FFTs each.
    """
    shape, geometry = given.shape, given.geometry
    spectrum = rfftn(least_squares(given, given.weights, max_iterations=start_iterations))
    known = jnp.where(jnp.abs(given.kernel) > threshold, 1.0, 0.0)
    rho = GRADIENT_RHO * jnp.asarray(weight)
    divisor = rho * laplacian_symbol(shape, geometry) + known
    divisor = jnp.where(divisor > 0, divisor, 1)

    begun = irfftn(known * spectrum, shape) if start is None else pad(start, shape)

    def nearest(gradients: Vectors) -> tuple[Volume, Vectors]:
        pull = rfftn(-rho * divergence(gradients, geometry))
        chi = irfftn((pull + known * spectrum) / divisor, shape)
        return chi, gradient(chi, geometry)

    return douglas_rachford(
        lambda gradients: shrink(gradients, 1 / GRADIENT_RHO),
        nearest,
        gradient(begun, geometry),
        tolerance=tolerance,
        max_iterations=max_iterations,
    )


def tgv_admm(
    given: InversionProblem,
    data_term: Proximal,
    *,
    weight: ArrayLike,
    ratio: ArrayLike,
    field_rho: ArrayLike = FIELD_RHO,
    harmonic: Harmonic | None = None,
    relaxation: float = 1.0,
    start: Array | None = None,
    tolerance: float,
    max_iterations: int,
) -> Volume:
    """Minimise data term(Dχ) + weight Σ (|∇χ − w|₁ + ratio |ℰw|₁) over χ and w by ADMM.

    ℰ is the symmetrised gradient. Where w = ∇χ costs nothing χ may have any constant slope.

    Args:
        given: the problem.
        data_term: proximal map of the data term at ``field_rho``.
        weight: ppm · mm.
        ratio: mm, of the second penalty's weight to the first's.
        field_rho, harmonic, relaxation, start: as in :func:`total_variation_admm`.
        tolerance: relative change of the iterate at which to stop.
        max_iterations: bound on the iterations, of ten real FFTs each, with another field twelve.
    """
    shape, geometry = given.shape, given.geometry
    rho = GRADIENT_RHO * jnp.asarray(weight)
    curvature_rho = GRADIENT_RHO * weight * ratio**2
    symbols = difference_symbols(shape, geometry)
    energy = laplacian_symbol(shape, geometry)
    # ℰᵀℰ on vectors is ½ (energy + e eᴴ), e the symbol of the gradient: its inverse is closed-form.
    across = rho + 0.5 * curvature_rho * energy
    along = rho + curvature_rho * energy
    predicted = field_split(given, field_rho, harmonic)
    # With w eliminated, what ties χ to its gradients and its field.
    divisor = rho * energy - rho**2 * energy / along + predicted.hessian
    divisor = jnp.where(divisor > 0, divisor, 1)

    def proximal(state: Any) -> Any:
        gradients, curvatures, fields = state
        return (
            shrink_values(gradients, 1 / GRADIENT_RHO),
            shrink_values(curvatures, 1 / (GRADIENT_RHO * ratio)),
            predicted.proximal(data_term, fields),
        )

    def nearest(state: Any) -> tuple[Volume, Any]:
        gradients, curvatures, fields = state
        slopes = tuple(
            curvature_rho * c - rho * g
            for c, g in zip(symmetric_gradient_adjoint(curvatures, geometry), gradients, strict=True)
        )
        right = [rfftn(slope) for slope in slopes]
        projected = sum(jnp.conj(e) * r for e, r in zip(symbols, right, strict=True))
        pull = rfftn(-rho * divergence(gradients, geometry))
        measured, pulled = predicted.pull(fields)
        spectrum = (pull + measured + rho * projected / along) / divisor
        # w = T⁻¹ (tightness e χ + right), T = across + (along − across) e eᴴ / energy.
        inner = projected + rho * energy * spectrum
        shared = inner * (across - along) / jnp.where(energy > 0, energy, 1) / along
        x, y, z = (
            irfftn((e * (rho * spectrum + shared) + r) / across, shape)
            for e, r in zip(symbols, right, strict=True)
        )
        slope = x, y, z
        chi = irfftn(spectrum, shape)
        rest = tuple(g - s for g, s in zip(gradient(chi, geometry), slope, strict=True))
        return chi, (rest, symmetric_gradient(slope, geometry), predicted.follow(spectrum, pulled))

    gradients, fields = given.split(start)
    return douglas_rachford(
        proximal,
        nearest,
        (gradients, (jnp.zeros_like(given.field),) * 6, predicted.begin(fields)),
        relaxation=relaxation,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
