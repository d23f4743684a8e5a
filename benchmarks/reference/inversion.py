"""Inversions, with the library's defaults; weights are the squared confidence in the field."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np

from benchmarks.reference.background import lbv
from benchmarks.reference.grid import (
    Shape,
    ball,
    convolve,
    difference_symbols,
    dipole_kernel,
    divergence,
    eroded,
    forward,
    gradient,
    haar,
    haar_inverse,
    inverse,
    laplacian,
    laplacian_symbol,
    padded,
    referenced,
    without_border,
)
from benchmarks.reference.solvers import State, conjugate_gradient, douglas_rachford, shrink

TIGHTNESS = np.float32(100)
SECOND_ORDER_RHO, HARMONIC_RHO, HARMONIC_RELAXATION = 0.1, 150, 1.8
FANSI_TGV_RHO = 0.5
HYBRID_ITERATIONS = 5
RADIANS = np.float32(16)
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))

Proximal = Callable[[np.ndarray], np.ndarray]
Shrink = Callable[[State, Any], State]


class Problem:
    """Field, weights and kernel on the padded grid.

    Args:
        field: ppm.
        mask: where it is valid.
        weights: squared confidence, zero outside the mask.
        b0_dir: field direction.
        shape: of the padded grid.
    """

    def __init__(
        self, field: np.ndarray, mask: np.ndarray, weights: np.ndarray, b0_dir: np.ndarray, shape: Shape
    ) -> None:
        self.field, self.weights = padded(field * mask, shape), padded(weights, shape)
        self.kernel = dipole_kernel(shape, b0_dir)
        self.mask, self.shape = mask, shape

    def linear(self, rho: float = 1) -> Proximal:
        """Sum of squares."""
        tight = np.float32(rho)
        return lambda v: (self.weights * self.field + tight * v) / (self.weights + tight)

    def absolute(self, typical: float) -> Proximal:
        """Sum of absolute values, in units of a typical misfit."""
        limit = np.float32(typical) * np.sqrt(self.weights)
        return lambda v: v - np.clip(v - self.field, -limit, limit)

    def nonlinear(self, rho: float = 1) -> Proximal:
        """Sum of 1 − cos, by three steps of Newton's method."""
        turn, field, weights = np.float32(2 * np.pi) / RADIANS, self.field, self.weights
        tight = np.float32(rho)

        def proximal(v: np.ndarray) -> np.ndarray:
            distance = v - field
            distance = distance - turn * np.round(distance / turn)
            misfit = tight * distance / (weights + tight)
            for _ in range(3):
                phase = RADIANS * misfit
                slope = weights * np.sin(phase) / RADIANS + tight * (misfit - distance)
                misfit = misfit - slope / (weights * np.maximum(np.cos(phase), 0) + tight)
            return v + misfit - distance

        return proximal


def tv(given: Problem, iterations: int) -> np.ndarray:
    """Total variation."""
    return referenced(_total_variation_admm(given, given.linear(), 3e-4, iterations), given.mask)


def fansi_tv(given: Problem, iterations: int) -> np.ndarray:
    """Total variation with the nonlinear data term."""
    return referenced(_total_variation_admm(given, given.nonlinear(), 3e-4, iterations), given.mask)


def l1_qsm(given: Problem, iterations: int) -> np.ndarray:
    """Total variation with the sum of absolute misfits."""
    chi = _total_variation_admm(given, given.absolute(0.01), 0.01 * 0.05, iterations)
    return referenced(chi, given.mask)


def hd_qsm(given: Problem, iterations: int) -> np.ndarray:
    """A few iterations of the sum of absolute misfits, then of the sum of squares."""
    chi = _total_variation_admm(given, given.absolute(0.01), 0.01 * 0.05, HYBRID_ITERATIONS)
    return referenced(_total_variation_admm(given, given.linear(), 2e-4, iterations, start=chi), given.mask)


def star(given: Problem, iterations: int) -> np.ndarray:
    """Strong sources, then what their field leaves."""
    strong = _total_variation_admm(given, given.linear(), 3e-3, iterations)
    rest = copy(given)
    rest.field = (given.field - convolve(strong, given.kernel)) * (given.weights > 0)
    return referenced(strong + _total_variation_admm(rest, rest.linear(), 3e-4, iterations), given.mask)


def tkd(given: Problem, iterations: int) -> np.ndarray:
    """Division by the kernel, bounded; no iteration."""
    kernel = given.kernel
    return _filtered(given, 1 / np.where(kernel < 0, np.minimum(kernel, -0.19), np.maximum(kernel, 0.19)))


def tsvd(given: Problem, iterations: int) -> np.ndarray:
    """Division by the kernel where it is strong; no iteration."""
    kept = np.abs(given.kernel) > 0.1
    return _filtered(given, np.where(kept, 1 / np.where(kept, given.kernel, 1), 0))


def tikhonov(given: Problem, iterations: int) -> np.ndarray:
    """Least squares with the gradient's, in closed form; no iteration."""
    divisor = given.kernel**2 + np.float32(0.02) * laplacian_symbol(given.shape)
    divisor[0, 0, 0] = 1
    return _filtered(given, given.kernel / divisor)


def _filtered(given: Problem, response: np.ndarray) -> np.ndarray:
    return referenced(convolve(given.field, response.astype(np.float32)), given.mask)


def medi(given: Problem, magnitude: np.ndarray, iterations: int) -> np.ndarray:
    """Total variation that spares the magnitude's edges, with the nonlinear data term."""
    spare = _sparing(differences_without_edges(magnitude, given.mask), given.shape)
    return referenced(_total_variation_admm(given, given.nonlinear(), 3e-4, iterations, spare), given.mask)


def nltv(given: Problem, iterations: int) -> np.ndarray:
    """Total variation, then three times weighted by the gradients found."""
    chi = _total_variation_admm(given, given.linear(), 4e-4, iterations)
    for _ in range(3):
        parts = [1 / (1 + np.abs(g) / np.float32(0.02)) for g in gradient(chi)]

        def weighted(vectors: State, threshold: Any, parts: State = parts) -> State:
            return [shrink([v], threshold * part)[0] for v, part in zip(vectors, parts, strict=True)]

        chi = _total_variation_admm(given, given.linear(), 4e-4, iterations, weighted, start=chi)
    return referenced(chi, given.mask)


def tgv(given: Problem, iterations: int) -> np.ndarray:
    """Total generalised variation."""
    return referenced(_tgv_admm(given, given.linear(SECOND_ORDER_RHO), iterations), given.mask)


def fansi_tgv(given: Problem, iterations: int) -> np.ndarray:
    """Total generalised variation with the nonlinear data term."""
    fidelity = given.nonlinear(FANSI_TGV_RHO)
    chi = _tgv_admm(given, fidelity, iterations, field_rho=FANSI_TGV_RHO)
    return referenced(chi, given.mask)


def ndi(given: Problem, iterations: int) -> np.ndarray:
    """Nonlinear dipole inversion with the library's scale and step."""
    scale, step = np.float32(4), np.float32(4)
    phase = scale * given.field
    chi = np.zeros(given.shape, np.float32)
    for _ in range(iterations):
        misfit = np.sin(convolve(chi, given.kernel) - phase)
        chi -= step * convolve(given.weights * misfit, given.kernel)
    return referenced(chi / scale, given.mask)


def rts(given: Problem, iterations: int) -> np.ndarray:
    """Least squares, and the ill-conditioned part of k-space by total variation."""
    return _two_steps(given, shrink, iterations)


def heidi(given: Problem, iterations: int) -> np.ndarray:
    """The same, sparing the edges of the field and of its Laplacian."""
    field = given.field[tuple(slice(n) for n in given.mask.shape)]
    found = [differences_without_edges(guide, given.mask) for guide in (field, laplacian(field))]
    smooth = [a & b for a, b in zip(*found, strict=True)]
    return _two_steps(given, _sparing(smooth, given.shape), iterations)


def amp_pe(given: Problem, iterations: int) -> np.ndarray:
    """Sparse wavelets with the nonlinear data term, by the parameters that the library begins with."""
    threshold, fidelity, kernel, shape = np.float32(1 / 25), given.nonlinear(), given.kernel, given.shape
    rho = np.float32(25 * 300 * 1e-6)
    divisor = rho + kernel**2

    def proximal(state: State) -> State:
        means, details = haar(state[0], 4)
        kept = [np.sign(d) * np.maximum(np.abs(d) - threshold, 0) for d in details]
        return [haar_inverse(means, kept), fidelity(state[1])]

    def nearest(state: State) -> tuple[np.ndarray, Callable[[], State]]:
        spectrum = (rho * forward(state[0]) + kernel * forward(state[1])) / divisor
        chi = inverse(spectrum, shape)
        return chi, lambda: [chi, inverse(spectrum * kernel, shape)]

    state = [np.zeros(shape, np.float32), given.field]
    return referenced(douglas_rachford(proximal, nearest, state, iterations), given.mask)


def wh_qsm(given: Problem, iterations: int) -> np.ndarray:
    """Total variation, with what is left of the background found along."""
    weight, harmonic_weight = np.float32(3e-4), np.float32(150)
    fidelity, kernel, shape = given.nonlinear(), given.kernel, given.shape
    rho, energy = TIGHTNESS * weight, laplacian_symbol(shape)
    follow = np.where(eroded(padded(given.mask, shape), 1.0), np.float32(0.5), np.float32(1))
    stiff, loose = 1 + harmonic_weight * energy**2, rho * energy + kernel**2
    determinant = loose * stiff - kernel**2
    determinant = np.where(determinant > 0, determinant, np.inf)

    def proximal(state: State) -> State:
        return [*shrink(state[:3], 1 / TIGHTNESS), fidelity(state[3]), follow * state[4]]

    def nearest(state: State) -> tuple[np.ndarray, Callable[[], State]]:
        forth = forward(state[3])
        to_chi = forward(-rho * divergence(state[:3])) + kernel * forth
        to_harmonic = forth - harmonic_weight * energy * forward(state[4])
        spectrum = (stiff * to_chi - kernel * to_harmonic) / determinant
        harmonic = (loose * to_harmonic - kernel * to_chi) / determinant
        chi = inverse(spectrum, shape)
        return chi, lambda: [
            *gradient(chi),
            inverse(kernel * spectrum + harmonic, shape),
            inverse(-energy * harmonic, shape),
        ]

    zeros = np.zeros(shape, np.float32)
    state = [zeros, zeros, zeros, given.field, zeros]
    return referenced(douglas_rachford(proximal, nearest, state, iterations), given.mask)


def ilsqr(given: Problem, iterations: int) -> np.ndarray:
    """Least squares, and the least rough streaks near the cone; iterations are those of the streaks."""
    mask, kernel, shape = given.mask, given.kernel, given.shape
    inside = padded(mask, shape) > 0
    rough = np.abs(padded(laplacian(given.field[tuple(slice(n) for n in mask.shape)]), shape))
    believed = _falling(rough, inside, 0.999, 0.99999)
    first = _least_squares(given, believed**2 * given.weights, 15)

    size = np.abs(kernel) ** 0.001
    low, high = np.quantile(size, (0.01, 0.3))
    trust = np.clip((size - low) / (high - low), 0, 1)
    smoothed = (trust + (1 - trust) * ball(shape, 3.0)).astype(np.float32)
    estimate = inside * convolve(given.field, np.sign(kernel) * smoothed)
    estimate = inside * convolve(estimate, smoothed)
    estimate = estimate * np.vdot(estimate, first) / np.vdot(estimate, estimate)
    smooth = [_falling(np.abs(g), inside, 0.5, 0.7) ** 2 for g in gradient(estimate)]
    cone = np.where(np.abs(kernel) < 0.1, np.float32(1), np.float32(0))

    def within_cone_rough(image: np.ndarray) -> np.ndarray:
        slopes = [s * g for s, g in zip(smooth, gradient(image), strict=True)]
        return convolve(-divergence(slopes), cone)

    streaks = conjugate_gradient(within_cone_rough, within_cone_rough(first), iterations)
    return referenced(first - streaks, mask)


def ss_tv(given: Problem, iterations: int) -> np.ndarray:
    """Total variation behind the filters of four balls, with Huber's data term."""
    rho, huber_threshold, weight = np.float32(0.2), np.float32(0.02), np.float32(5e-4)
    fields, weights, kernels = [], [], []
    inside, valid = padded(given.mask, given.shape), np.zeros(given.shape, bool)
    for radius in (16.0, 8.0, 4.0, 2.0):
        mean = ball(given.shape, radius)
        fits = eroded(inside, radius)
        fields.append(convolve(given.field, 1 - mean) * fits)
        weights.append(given.weights * (fits & ~valid))
        kernels.append(given.kernel * (1 - mean))
        valid |= fits
    ramp = TIGHTNESS * weight
    divisor = ramp * laplacian_symbol(given.shape) + rho * sum(k**2 for k in kernels)
    divisor = np.where(divisor > 0, divisor, 1)
    spare = _sparing(differences_without_edges(np.ones(given.mask.shape), given.mask), given.shape)

    def proximal(state: State) -> State:
        split = spare(state[:3], 1 / TIGHTNESS)
        for v, field, w in zip(state[3:], fields, weights, strict=True):
            pull = w * (v - field) / (w + rho)
            split.append(v - np.clip(pull, -huber_threshold * w / rho, huber_threshold * w / rho))
        return split

    def nearest(state: State) -> tuple[np.ndarray, Callable[[], State]]:
        measured = sum(k * forward(f) for k, f in zip(kernels, state[3:], strict=True))
        spectrum = (forward(-ramp * divergence(state[:3])) + rho * measured) / divisor
        chi = inverse(spectrum, given.shape)
        return chi, lambda: [*gradient(chi), *(inverse(spectrum * k, given.shape) for k in kernels)]

    begun = [np.where(w > 0, f, 0) for f, w in zip(fields, weights, strict=True)]
    zeros = np.zeros(given.shape, np.float32)
    chi = douglas_rachford(proximal, nearest, [zeros, zeros, zeros, *begun], iterations, relaxation=1.8)
    return referenced(chi, valid[tuple(slice(n) for n in given.mask.shape)])


def tfi(given: Problem, iterations: int) -> np.ndarray:
    """Sources inside and outside the mask by one reweighting; iterations are those of conjugate gradients."""
    flat, weight, outside = np.float32(1e-3), np.float32(5e-4), np.float32(30)
    shape, kernel, weights = given.shape, given.kernel, given.weights
    inside, total = padded(given.mask, shape) > 0, given.weights.sum()
    field = (given.field - (weights * given.field).sum() / total) * inside
    preconditioner = np.where(inside, np.float32(1), outside)
    smooth = differences_without_edges(np.ones(given.mask.shape), given.mask)
    penalised = [padded(s & given.mask, shape) for s in smooth]

    def gradient_of(chi: np.ndarray, misfit: np.ndarray) -> np.ndarray:
        misfit = weights * (misfit - (weights * misfit).sum() / total)
        slopes = [p * g / flat for p, g in zip(penalised, gradient(chi), strict=True)]
        return preconditioner * (convolve(misfit, kernel) - weight * divergence(slopes))

    def normal(y: np.ndarray) -> np.ndarray:
        return gradient_of(preconditioner * y, convolve(preconditioner * y, kernel))

    zeros = np.zeros(shape, np.float32)
    chi = preconditioner * conjugate_gradient(normal, -gradient_of(zeros, -field), iterations)
    return referenced(chi, given.mask)


def tgv_qsm(
    field: np.ndarray, mask: np.ndarray, b0_dir: np.ndarray, shape: Shape, iterations: int
) -> np.ndarray:
    """Total generalised variation, and a harmonic field beside that of χ."""
    interior = without_border(np.pad(mask, 1))[1:-1, 1:-1, 1:-1]
    given = Problem(lbv(field, mask, 20), mask, mask.astype(np.float32), b0_dir, shape)
    fidelity = given.linear(SECOND_ORDER_RHO)
    chi = _tgv_admm(given, fidelity, iterations, ratio=3, harmonic_in=padded(interior, shape) > 0)
    return referenced(chi, mask)


def differences_without_edges(image: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """For each direction, where the image's difference is none of the steepest 30 % in the mask."""
    differences = [np.abs(g) for g in gradient(image.astype(np.float32))]
    joined = [mask & np.roll(mask, -1, axis) for axis in range(3)]
    for axis, pairs in enumerate(joined):
        pairs[(*[slice(None)] * axis, -1)] = False
    steep = np.quantile(np.concatenate([d[j] for d, j in zip(differences, joined, strict=True)]), 0.7)
    return [~j | (d <= steep) for j, d in zip(joined, differences, strict=True)]


def _sparing(smooth: list[np.ndarray], shape: Shape) -> Shrink:
    penalised = [padded(~s, shape) == 0 for s in smooth]

    def spare(vectors: State, threshold: Any) -> State:
        shorter = shrink([np.where(p, v, 0) for p, v in zip(penalised, vectors, strict=True)], threshold)
        return [np.where(p, s, v) for p, s, v in zip(penalised, shorter, vectors, strict=True)]

    return spare


def _total_variation_admm(
    given: Problem,
    fidelity: Proximal,
    weight: float,
    iterations: int,
    shorten: Shrink = shrink,
    start: np.ndarray | None = None,
) -> np.ndarray:
    kernel, shape = given.kernel, given.shape
    rho = TIGHTNESS * np.float32(weight)
    divisor = kernel**2 + rho * laplacian_symbol(shape)
    divisor[0, 0, 0] = 1

    def proximal(state: State) -> State:
        return [*shorten(state[:3], 1 / TIGHTNESS), fidelity(state[3])]

    def nearest(state: State) -> tuple[np.ndarray, Callable[[], State]]:
        spectrum = (forward(-rho * divergence(state[:3])) + kernel * forward(state[3])) / divisor
        chi = inverse(spectrum, shape)
        return chi, lambda: [*gradient(chi), inverse(spectrum * kernel, shape)]

    zeros = np.zeros(shape, np.float32)
    state = [zeros, zeros, zeros, given.field]
    if start is not None:
        state = [*gradient(start), convolve(start, kernel)]
    return douglas_rachford(proximal, nearest, state, iterations)


def _tgv_admm(
    given: Problem,
    fidelity: Proximal,
    iterations: int,
    *,
    ratio: float = 4,
    field_rho: float = SECOND_ORDER_RHO,
    harmonic_in: np.ndarray | None = None,
) -> np.ndarray:
    weight = np.float32(2e-4)
    tight, stiff = np.float32(field_rho), np.float32(HARMONIC_RHO)
    kernel, shape = given.kernel, given.shape
    rho, second = TIGHTNESS * weight, TIGHTNESS * weight * ratio**2
    symbols, energy = difference_symbols(shape), laplacian_symbol(shape)
    across, along = rho + second / 2 * energy, rho + second * energy
    yielding = 1 / (tight + stiff * energy**2)
    followed = tight if harmonic_in is None else tight * stiff * energy * yielding
    met = followed if harmonic_in is None else followed * energy
    divisor = rho * energy - rho**2 * energy / along + met * kernel**2
    divisor = np.where(divisor > 0, divisor, 1)
    bend = (across - along) / np.where(energy > 0, energy, 1) / along

    def proximal(state: State) -> State:
        curvatures = shrink(state[3:9], 1 / (TIGHTNESS * ratio))
        sources = [] if harmonic_in is None else [np.where(harmonic_in, 0, state[10])]
        return [*shrink(state[:3], 1 / TIGHTNESS), *curvatures, fidelity(state[9]), *sources]

    def nearest(state: State) -> tuple[np.ndarray, Callable[[], State]]:
        gradients, curvatures = state[:3], state[3:9]
        back = _symmetric_gradient_adjoint(curvatures)
        right = [forward(second * c - rho * g) for c, g in zip(back, gradients, strict=True)]
        projected = sum(np.conj(e) * r for e, r in zip(symbols, right, strict=True))
        forth = forward(state[9])
        apart = [forward(s) for s in state[10:]]
        pulled = followed * (energy * forth + apart[0]) if apart else followed * forth
        pull = forward(-rho * divergence(gradients)) + kernel * pulled
        spectrum = (pull + rho * projected / along) / divisor
        shared = (projected + rho * energy * spectrum) * bend
        chi = inverse(spectrum, shape)

        def image() -> State:
            slopes = [
                inverse((e * (rho * spectrum + shared) + r) / across, shape)
                for e, r in zip(symbols, right, strict=True)
            ]
            rest = [g - s for g, s in zip(gradient(chi), slopes, strict=True)]
            field, sources = spectrum * kernel, []
            if apart:
                other = (tight * (forth - field) - stiff * energy * apart[0]) * yielding
                field, sources = field + other, [inverse(-energy * other, shape)]
            return [*rest, *_symmetric_gradient(slopes), inverse(field, shape), *sources]

        return chi, image

    zeros = np.zeros(shape, np.float32)
    if harmonic_in is None:
        return douglas_rachford(proximal, nearest, [zeros] * 9 + [given.field], iterations)
    state = [zeros] * 9 + [given.field, zeros]
    return douglas_rachford(proximal, nearest, state, iterations, HARMONIC_RELAXATION)


def _two_steps(given: Problem, shorten: Shrink, iterations: int) -> np.ndarray:
    kernel, shape, rho = given.kernel, given.shape, TIGHTNESS * np.float32(1e-4)
    first = _least_squares(given, given.weights, 20)
    known = np.where(np.abs(kernel) > 0.15, np.float32(1), np.float32(0))
    kept = known * forward(first)
    divisor = rho * laplacian_symbol(shape) + known
    divisor = np.where(divisor > 0, divisor, 1)

    def nearest(gradients: State) -> tuple[np.ndarray, Callable[[], State]]:
        chi = inverse((forward(-rho * divergence(gradients)) + kept) / divisor, shape)
        return chi, lambda: gradient(chi)

    begun = gradient(inverse(kept, shape))
    chi = douglas_rachford(lambda v: shorten(v, 1 / TIGHTNESS), nearest, begun, iterations)
    return referenced(chi, given.mask)


def _least_squares(given: Problem, weights: np.ndarray, iterations: int) -> np.ndarray:
    kernel = given.kernel
    return conjugate_gradient(
        lambda chi: convolve(weights * convolve(chi, kernel), kernel),
        convolve(weights * given.field, kernel),
        iterations,
    )


def _falling(values: np.ndarray, inside: np.ndarray, low: float, high: float) -> np.ndarray:
    bottom, top = np.quantile(values[inside], (low, high))
    return np.clip((top - values) / max(top - bottom, 1e-12), 0, 1).astype(np.float32)


def _symmetric_gradient(vectors: State) -> State:
    def along(axis: int) -> np.ndarray:
        return vectors[axis] - np.roll(vectors[axis], 1, axis)

    def across(component: int, axis: int) -> np.ndarray:
        return np.roll(vectors[component], -1, axis) - vectors[component]

    return [along(i) if i == j else np.float32(0.5) * (across(j, i) + across(i, j)) for i, j in PAIRS]


def _symmetric_gradient_adjoint(matrix: State) -> State:
    vectors = [np.zeros_like(matrix[0]) for _ in range(3)]
    for (i, j), entry in zip(PAIRS, matrix, strict=True):
        for component, axis in ((i, j),) if i == j else ((i, j), (j, i)):
            back = np.roll(entry, -1, axis) - entry if i == j else entry - np.roll(entry, 1, axis)
            vectors[component] -= back
    return vectors
