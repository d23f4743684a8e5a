"""Background removal, with the library's defaults."""

from __future__ import annotations

import numpy as np

from benchmarks.reference.grid import (
    ball,
    convolve,
    cropped,
    dipole_kernel,
    eroded,
    forward,
    inverse,
    laplacian,
    laplacian_symbol,
    padded,
    without_border,
)
from benchmarks.reference.solvers import conjugate_gradient
from jaxqsm.background.v_sharp import RADII
from jaxqsm.operators import fast_shape


def v_sharp(total_field: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V-SHARP with the library's radii, threshold and feedback; local field and where it is valid."""
    shape = fast_shape(mask.shape, 1)
    field, inside = padded(total_field * mask, shape), padded(mask, shape)
    spectrum, own_ball = forward(inside), np.full(shape, -1, np.int8)
    responses = []
    for index, radius in enumerate(RADII):
        responses.append(ball(shape, radius))
        fits = (inside > 0) & (inverse(spectrum * responses[-1], shape) > 0.999)
        own_ball[fits & (own_ball < 0)] = index
    valid = own_ball >= 0
    widest = responses[own_ball[valid].min()]

    def high_pass(image: np.ndarray) -> np.ndarray:
        spectrum, filtered = forward(image), np.zeros_like(image)
        for index, response in enumerate(responses):
            chosen = own_ball == index
            filtered[chosen] = (image - inverse(spectrum * response, shape))[chosen]
        return filtered

    divisor = 1 - widest
    back = np.where(np.abs(divisor) > 0.1, 1 / np.where(np.abs(divisor) > 0.1, divisor, 1), 0)
    filtered = high_pass(field)
    local = convolve(filtered, back) * valid
    for _ in range(2):
        local = local + (filtered - high_pass(local)) * valid
    return cropped(local, mask.shape), cropped(valid, mask.shape)


def pdf(total_field: np.ndarray, mask: np.ndarray, b0_dir: np.ndarray, iterations: int) -> np.ndarray:
    """Projection onto dipole fields of sources outside the mask."""
    shape = fast_shape(mask.shape, [n // 2 for n in mask.shape])
    inside = padded(mask, shape)
    outside, kernel = 1 - inside, dipole_kernel(shape, b0_dir)
    field = padded((total_field - total_field[mask].mean()) * mask, shape)
    chi = conjugate_gradient(
        lambda chi: outside * convolve(inside * convolve(outside * chi, kernel), kernel),
        outside * convolve(inside * field, kernel),
        iterations,
    )
    return cropped(field - convolve(outside * chi, kernel), mask.shape) * mask


def resharp(total_field: np.ndarray, mask: np.ndarray, iterations: int) -> np.ndarray:
    """The smallest local field that deviates from its means as the total field does."""
    shape, weight = fast_shape(mask.shape, 1), np.float32(1e-4)
    response = 1 - ball(shape, 6.0)
    kept = eroded(padded(mask, shape), 6.0).astype(np.float32)
    local = conjugate_gradient(
        lambda local: convolve(kept * convolve(local, response), response) + weight * local,
        convolve(kept * convolve(padded(total_field * mask, shape), response), response),
        iterations,
    )
    return cropped(local * kept, mask.shape)


def ismv(total_field: np.ndarray, mask: np.ndarray, iterations: int) -> np.ndarray:
    """Means over balls, again and again."""
    shape, response = fast_shape(mask.shape, 1), ball(fast_shape(mask.shape, 1), 4.0)
    kept, field = eroded(padded(mask, shape), 4.0), padded(total_field * mask, shape)
    background = field
    for _ in range(iterations):
        background = np.where(kept, convolve(background, response), field)
    return cropped(np.where(kept, field - background, 0), mask.shape)


def lbv(total_field: np.ndarray, mask: np.ndarray, iterations: int) -> np.ndarray:
    """Laplace's equation, preconditioned by Poisson's on the whole array."""
    shape = fast_shape(mask.shape, 1)
    inside, field = padded(mask, shape) > 0, padded(total_field * mask, shape)
    for _ in range(3):
        inside = without_border(inside)
    interior = without_border(inside)
    response = laplacian_symbol(shape)
    response[0, 0, 0] = np.inf
    response = 1 / response

    def minus_laplacian(image: np.ndarray) -> np.ndarray:
        return -np.where(interior, laplacian(image), 0)

    def near_inverse(residual: np.ndarray) -> np.ndarray:
        return np.where(interior, convolve(residual, response), 0)

    right = minus_laplacian(np.where(inside, field, 0))
    return cropped(conjugate_gradient(minus_laplacian, right, iterations, near_inverse), mask.shape)
