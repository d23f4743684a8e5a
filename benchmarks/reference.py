"""The same algorithms in NumPy with SciPy's FFT on two workers: what a user would write without JAX."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from scipy import fft, ndimage

from jaxqsm import Acquisition, Geometry
from jaxqsm.background.v_sharp import RADII
from jaxqsm.operators import fast_shape
from jaxqsm.unwrapping import romeo

WORKERS = 2


def dipole_kernel(shape: tuple[int, int, int], b0_dir: np.ndarray) -> np.ndarray:
    """Continuous kernel on the half spectrum, 1 mm voxels, float32."""
    kx = np.fft.fftfreq(shape[0])[:, None, None]
    ky = np.fft.fftfreq(shape[1])[None, :, None]
    kz = np.fft.rfftfreq(shape[2])[None, None, :]
    squared = _squared_frequency(shape)
    squared[0, 0, 0] = 1
    kernel = 1 / 3 - (b0_dir[0] * kx + b0_dir[1] * ky + b0_dir[2] * kz) ** 2 / squared
    kernel[0, 0, 0] = 0
    return kernel.astype(np.float32)


def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Periodic convolution with a half-spectrum kernel."""
    return _inverse(_forward(image) * kernel, image.shape)


def ndi(
    field: np.ndarray,
    mask: np.ndarray,
    b0_dir: np.ndarray,
    shape: tuple[int, int, int],
    iterations: int,
) -> np.ndarray:
    """Nonlinear dipole inversion with the library's scale and step."""
    scale, step = np.float32(4), np.float32(4)
    weights, phase = _padded(mask.astype(np.float32), shape), _padded(scale * field * mask, shape)
    kernel = dipole_kernel(shape, b0_dir)
    chi = np.zeros(shape, np.float32)
    for _ in range(iterations):
        misfit = np.sin(convolve(chi, kernel) - phase)
        chi -= step * convolve(weights * misfit, kernel)
    return _cropped(chi / scale, mask)


def tv(
    field: np.ndarray,
    mask: np.ndarray,
    confidence: np.ndarray,
    b0_dir: np.ndarray,
    shape: tuple[int, int, int],
    iterations: int,
) -> np.ndarray:
    """Total variation by ADMM with split gradient and split field, as the library does it."""
    weight = np.float32(3e-4)
    tight = 100 * weight
    weights, data = _padded(confidence**2, shape), _padded(field * mask, shape)
    kernel = dipole_kernel(shape, b0_dir)
    divisor = kernel**2 + tight * _laplacian_symbol(shape)
    divisor[0, 0, 0] = 1
    state = [np.zeros(shape, np.float32) for _ in range(3)] + [data.copy()]
    for iteration in range(iterations + 1):
        length = np.sqrt(state[0] ** 2 + state[1] ** 2 + state[2] ** 2)
        factor = np.maximum(0, 1 - (weight / tight) / np.maximum(length, 1e-20))
        split = [factor * s for s in state[:3]] + [(weights * data + state[3]) / (weights + 1)]
        reflected = [2 * v - s for v, s in zip(split, state, strict=True)]
        backward = sum(reflected[a] - np.roll(reflected[a], 1, a) for a in range(3))
        spectrum = (_forward(-tight * backward) + kernel * _forward(reflected[3])) / divisor
        chi = _inverse(spectrum, shape)
        if iteration == iterations:
            break
        now = [np.roll(chi, -1, a) - chi for a in range(3)] + [_inverse(spectrum * kernel, shape)]
        state = [n + s - v for n, s, v in zip(now, state, split, strict=True)]
    return _cropped(chi, mask)


def run(
    signal: np.ndarray,
    mask: np.ndarray,
    acquisition: Acquisition,
    b0_dir: np.ndarray,
    shape: tuple[int, int, int],
    iterations: int,
) -> np.ndarray:
    """Complex signal to χ by the library's default stages; only region growing is the library's own."""
    magnitude, inside = np.abs(signal), jnp.asarray(mask)
    difference = np.angle(signal[..., 1] * signal[..., 0].conj())
    smaller = np.minimum(magnitude[..., 0], magnitude[..., 1])
    unwrapped = np.asarray(romeo(difference, inside, Geometry(), magnitude=smaller))
    times = np.asarray(acquisition.echo_times)
    offset = _phase_offset(np.angle(signal[..., 0]), unwrapped, magnitude, mask, times)
    wrapped = np.angle(signal * np.exp(-1j * offset)[..., None])
    phase = np.array(
        romeo(wrapped, inside, Geometry(), magnitude=magnitude, echo_times=acquisition.echo_times)
    )
    means = phase[mask].mean(axis=0)
    for echo in range(1, len(times)):
        turns = np.rint((means[echo - 1] * times[echo] / times[echo - 1] - means[echo]) / (2 * np.pi))
        means[echo] += 2 * np.pi * turns
        phase[..., echo] += np.float32(2 * np.pi * turns) * mask
    ramp = np.asarray(acquisition.phase_per_ppm)
    weights = magnitude**2
    total = (weights * ramp * phase).sum(-1) / ((weights * ramp**2).sum(-1) + 1e-12) * mask
    turning = np.exp(1j * (wrapped - total[..., None] * ramp))
    bad = np.abs((weights * turning).sum(-1)) < 0.9 * weights.sum(-1)
    kept = ~ndimage.binary_propagation(~mask, mask=~mask | bad)
    local, valid = v_sharp(total * kept, kept)
    confidence = np.where(bad, 0, np.sqrt((weights * ramp**2).sum(-1))) * valid
    confidence = np.minimum(confidence / np.sqrt((confidence[valid] ** 2).mean()), 3)
    return tv(local, valid, confidence.astype(np.float32), b0_dir, shape, iterations)


def v_sharp(total_field: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V-SHARP on 1 mm voxels with the library's radii, threshold and feedback."""
    shape = fast_shape(mask.shape, 1)
    field, inside = _padded(total_field * mask, shape), _padded(mask, shape)
    spectrum, own_ball = _forward(inside), np.full(shape, -1, np.int8)
    responses = []
    for index, radius in enumerate(RADII):
        responses.append(_forward(_ball(shape, radius)).real)
        fits = (inside > 0) & (_inverse(spectrum * responses[-1], shape) > 0.999)
        own_ball[fits & (own_ball < 0)] = index
    valid = own_ball >= 0
    widest = responses[own_ball[valid].min()]

    def high_pass(image: np.ndarray) -> np.ndarray:
        spectrum, filtered = _forward(image), np.zeros_like(image)
        for index, response in enumerate(responses):
            chosen = own_ball == index
            filtered[chosen] = (image - _inverse(spectrum * response, shape))[chosen]
        return filtered

    divisor = 1 - widest
    inverse = np.where(np.abs(divisor) > 0.1, 1 / np.where(np.abs(divisor) > 0.1, divisor, 1), 0)
    filtered = high_pass(field)
    local = _inverse(_forward(filtered) * inverse, shape) * valid
    for _ in range(3):
        local = local + (filtered - high_pass(local)) * valid
    x, y, z = mask.shape
    return local[:x, :y, :z], valid[:x, :y, :z]


def _phase_offset(
    first: np.ndarray, difference: np.ndarray, magnitude: np.ndarray, mask: np.ndarray, times: np.ndarray
) -> np.ndarray:
    offset = first - difference * times[0] / (times[1] - times[0])
    weight = (mask * magnitude[..., 0] * magnitude[..., 1]).astype(np.float32)
    shape = fast_shape(mask.shape, [n // 4 for n in mask.shape])
    gauss = np.exp(-2 * (np.pi * 3) ** 2 * _squared_frequency(shape)).astype(np.float32)
    x, y, z = mask.shape

    def smooth(image: np.ndarray) -> np.ndarray:
        return _inverse(_forward(_padded(image, shape)) * gauss, shape)[:x, :y, :z]

    smoothed = np.zeros_like(offset)
    for _ in range(4):
        rest = offset - smoothed
        smoothed = smoothed + np.arctan2(smooth(weight * np.sin(rest)), smooth(weight * np.cos(rest)))
    return smoothed


def _ball(shape: tuple[int, int, int], radius: float) -> np.ndarray:
    axes = (np.fft.fftfreq(n, 1 / n) for n in shape)
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    ball = np.clip(radius - np.sqrt(x**2 + y**2 + z**2) + 0.5, 0, 1)
    return (ball / ball.sum()).astype(np.float32)


def _squared_frequency(shape: tuple[int, int, int]) -> np.ndarray:
    axes = (np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), np.fft.rfftfreq(shape[2]))
    kx, ky, kz = np.meshgrid(*axes, indexing="ij", sparse=True)
    return kx**2 + ky**2 + kz**2


def _forward(image: np.ndarray) -> np.ndarray:
    return fft.rfftn(image, workers=WORKERS)


def _inverse(spectrum: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return fft.irfftn(spectrum, s=shape, workers=WORKERS)


def _laplacian_symbol(shape: tuple[int, int, int]) -> np.ndarray:
    axes = (np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), np.fft.rfftfreq(shape[2]))
    kx, ky, kz = np.meshgrid(*(2 - 2 * np.cos(2 * np.pi * a) for a in axes), indexing="ij", sparse=True)
    return (kx + ky + kz).astype(np.float32)


def _padded(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    return np.pad(image, [(0, n - o) for n, o in zip(shape, image.shape, strict=True)]).astype(np.float32)


def _cropped(chi: np.ndarray, mask: np.ndarray) -> np.ndarray:
    x, y, z = mask.shape
    chi = chi[:x, :y, :z]
    return np.where(mask, chi - chi[mask].mean(), 0)
