"""Background removal, with the library's defaults."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

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
    squared_frequency,
    without_border,
)
from benchmarks.reference.solvers import conjugate_gradient
from jaxqsm.background.v_sharp import RADII
from jaxqsm.operators import fast_shape


def v_sharp(
    total_field: np.ndarray,
    mask: np.ndarray,
    radii: Sequence[float] = RADII,
    threshold: float = 0.1,
    refinements: int = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """V-SHARP with the library's radii, threshold and feedback; local field and where it is valid."""
    shape = fast_shape(mask.shape, 1)
    field, inside = padded(total_field * mask, shape), padded(mask, shape)
    spectrum, own_ball = forward(inside), np.full(shape, -1, np.int8)
    responses = []
    for index, radius in enumerate(radii):
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
    strong = np.abs(divisor) > threshold
    back = np.where(strong, 1 / np.where(strong, divisor, 1), 0)
    filtered = high_pass(field)
    local = convolve(filtered, back) * valid
    for _ in range(refinements):
        local = local + (filtered - high_pass(local)) * valid
    return cropped(local, mask.shape), cropped(valid, mask.shape)


def sharp(total_field: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The same with one ball and no feedback."""
    return v_sharp(total_field, mask, (6.0,), 0.05, 0)[0]


def msmv(total_field: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Means over a ball within the mask, then five times what is too strong along the border."""
    shape = fast_shape(mask.shape, 1)
    inside, field = padded(mask, shape), padded(total_field * mask, shape)
    wide, nearest = ball(shape, 5.0), ball(shape, 0.55)
    share = np.maximum(convolve(inside, wide), np.float32(1e-3))
    local = inside * (field - convolve(field, wide) / share)
    border = (inside > 0) & ~eroded(inside, 5.0)
    for _ in range(5):
        shadow = np.where(border & (np.abs(local) > 1.6e-3), local, 0)
        local = inside * (local - convolve(shadow, nearest))
    return cropped(local, mask.shape)


def sdf(total_field: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Means under Gaussians within the mask, wide inside and narrow at the border, twice."""
    widths = (10.0, 8.0, 6.0, 4.0, 3.0, 2.0, 1.0)
    shape, ball_shape = fast_shape(mask.shape, [n // 4 for n in mask.shape]), fast_shape(mask.shape, 1)
    inside, in_ball_grid = padded(mask, shape), padded(mask, ball_shape)
    frequency = -2 * np.pi**2 * squared_frequency(shape)
    responses = [np.exp(frequency * np.float32(width**2)).astype(np.float32) for width in widths]
    spectrum = forward(inside)
    counts = [np.maximum(inverse(spectrum * r, shape), np.float32(1e-3)) for r in responses]
    owner = np.full(mask.shape, -1, np.int8)
    for index, width in enumerate(widths):
        fits = mask if width == widths[-1] else cropped(eroded(in_ball_grid, 2 * width), mask.shape)
        owner[fits & (owner < 0)] = index
    owner = np.pad(owner, [(0, n - o) for n, o in zip(shape, mask.shape, strict=True)], constant_values=-1)
    local = padded(total_field * mask, shape)
    for _ in range(2):
        spectrum, mean = forward(local), np.zeros_like(local)
        for index, (response, count) in enumerate(zip(responses, counts, strict=True)):
            chosen = owner == index
            mean[chosen] = (inverse(spectrum * response, shape) / count)[chosen]
        local = (local - mean) * inside
    return cropped(local, mask.shape) * cropped(eroded(in_ball_grid, 2.0), mask.shape)


def polynomial(total_field: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Least squares by 35 Chebyshev polynomials."""
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in mask.shape]
    along = [np.polynomial.chebyshev.chebvander(axis, 4) for axis in axes]
    degrees = [d for d in itertools.product(range(5), repeat=3) if sum(d) <= 4]
    where = np.nonzero(mask)
    terms = np.stack(
        [np.prod([a[w, d] for a, w, d in zip(along, where, ds, strict=True)], axis=0) for ds in degrees], -1
    )
    local = np.zeros_like(total_field)
    coefficients = np.linalg.lstsq(terms, total_field[mask], rcond=None)[0]
    local[mask] = total_field[mask] - terms @ coefficients
    return local


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


def harperella(total_field: np.ndarray, mask: np.ndarray, iterations: int) -> np.ndarray:
    """A Laplacian outside that leaves no mean over any ball of 10 mm."""
    given = _Laplacians(total_field, mask)
    averaged = ball(given.shape, 10.0) ** 2
    sources = conjugate_gradient(
        lambda sources: given.outside * convolve(given.outside * sources, averaged),
        -given.outside * convolve(given.inner, averaged),
        iterations,
    )
    return given.field(sources)


def iharperella(total_field: np.ndarray, mask: np.ndarray, iterations: int) -> np.ndarray:
    """A Laplacian outside that makes the field inside least."""
    given = _Laplacians(total_field, mask)
    symbol = laplacian_symbol(given.shape) ** 2

    def squared(image: np.ndarray) -> np.ndarray:
        return given.poisson((1 - given.outside) * given.poisson(image))

    sources = conjugate_gradient(
        lambda sources: given.outside * squared(given.outside * sources),
        -given.outside * squared(given.inner),
        iterations,
        lambda residual: given.outside * convolve(given.outside * residual, symbol),
    )
    return given.field(sources)


class _Laplacians:
    """Minus the Laplacian of the total field where it is known, and where it is not, on a padded grid."""

    def __init__(self, total_field: np.ndarray, mask: np.ndarray) -> None:
        self.shape = fast_shape(mask.shape, [max(8, n // 8) for n in mask.shape])
        self.valid = without_border(mask)
        self.outside = 1 - padded(self.valid, self.shape)
        self.inner = -laplacian(padded(total_field * mask, self.shape)) * (1 - self.outside)
        response = laplacian_symbol(self.shape)
        response[0, 0, 0] = np.inf
        self.response = 1 / response

    def poisson(self, image: np.ndarray) -> np.ndarray:
        return convolve(image, self.response)

    def field(self, sources: np.ndarray) -> np.ndarray:
        return cropped(self.poisson(self.inner + self.outside * sources), self.valid.shape) * self.valid


def lbv(total_field: np.ndarray, mask: np.ndarray, iterations: int) -> np.ndarray:
    """Laplace's equation, preconditioned by Poisson's on the whole array."""
    shape = fast_shape(mask.shape, 1)
    inside, field = padded(mask, shape) > 0, padded(total_field * mask, shape)
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
