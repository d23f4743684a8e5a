"""The same algorithms in NumPy with SciPy's FFT on two workers: what a user would write without JAX."""

from __future__ import annotations

import numpy as np
from scipy import fft

WORKERS = 2


def dipole_kernel(shape: tuple[int, int, int], b0_dir: np.ndarray) -> np.ndarray:
    """Continuous kernel on the half spectrum, 1 mm voxels, float32."""
    kx = np.fft.fftfreq(shape[0])[:, None, None]
    ky = np.fft.fftfreq(shape[1])[None, :, None]
    kz = np.fft.rfftfreq(shape[2])[None, None, :]
    squared = kx**2 + ky**2 + kz**2
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
    b0_dir: np.ndarray,
    shape: tuple[int, int, int],
    iterations: int,
) -> np.ndarray:
    """Total variation by ADMM with split gradient and split field, as the library does it."""
    weight = np.float32(3e-4)
    tight = 100 * weight
    weights, data = _padded(mask.astype(np.float32), shape), _padded(field * mask, shape)
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
