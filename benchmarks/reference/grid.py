"""Kernels, convolutions and differences on a periodic grid of 1 mm voxels, float32."""

from __future__ import annotations

import numpy as np
from scipy import fft

WORKERS = 2
Shape = tuple[int, int, int]


def dipole_kernel(shape: Shape, b0_dir: np.ndarray) -> np.ndarray:
    """Continuous kernel on the half spectrum."""
    axes = (np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), np.fft.rfftfreq(shape[2]))
    along = np.meshgrid(*axes, indexing="ij", sparse=True)
    squared = squared_frequency(shape)
    squared[0, 0, 0] = 1
    projected = sum((b * k) ** 2 for b, k in zip(b0_dir, along, strict=True))
    # The sign of the highest frequency is not known: what is odd in it is zero.
    odd = [np.where(np.abs(k) < 0.5, k, 0) for k in along]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        projected = projected + 2 * b0_dir[i] * b0_dir[j] * odd[i] * odd[j]
    kernel = 1 / 3 - projected / squared
    kernel[0, 0, 0] = 0
    return kernel.astype(np.float32)


def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Periodic convolution with a half-spectrum kernel."""
    return inverse(forward(image) * kernel, image.shape)


def forward(image: np.ndarray) -> np.ndarray:
    """Half spectrum of an image."""
    return fft.rfftn(image, workers=WORKERS)


def inverse(spectrum: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Image of a half spectrum."""
    return fft.irfftn(spectrum, s=shape, workers=WORKERS)


def gradient(image: np.ndarray) -> list[np.ndarray]:
    """Forward differences."""
    return [np.roll(image, -1, axis) - image for axis in range(3)]


def divergence(vectors: list[np.ndarray]) -> np.ndarray:
    """Backward differences, summed."""
    total = vectors[0] - np.roll(vectors[0], 1, 0)
    for axis in (1, 2):
        total += vectors[axis] - np.roll(vectors[axis], 1, axis)
    return total


def laplacian(image: np.ndarray) -> np.ndarray:
    """Second differences, seven points."""
    return divergence(gradient(image))


def difference_symbols(shape: Shape) -> list[np.ndarray]:
    """Of the forward differences, each along its axis."""
    axes = (np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), np.fft.rfftfreq(shape[2]))
    steps = [(np.exp(2j * np.pi * a) - 1).astype(np.complex64) for a in axes]
    return list(np.meshgrid(*steps, indexing="ij", sparse=True))


def laplacian_symbol(shape: Shape) -> np.ndarray:
    """Of minus the Laplacian."""
    return sum(np.abs(e) ** 2 for e in difference_symbols(shape))


def squared_frequency(shape: Shape) -> np.ndarray:
    """On the half spectrum, in 1 / mm²."""
    axes = (np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), np.fft.rfftfreq(shape[2]))
    kx, ky, kz = np.meshgrid(*axes, indexing="ij", sparse=True)
    return kx**2 + ky**2 + kz**2


def ball(shape: tuple[int, ...], radius: float) -> np.ndarray:
    """Half spectrum of the mean over a ball."""
    axes = (np.fft.fftfreq(n, 1 / n) for n in shape)
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    distance = np.sqrt(x**2 + y**2 + z**2)
    inside = np.clip(radius - distance + 0.5, 0, 1)
    return forward((inside / inside.sum()).astype(np.float32)).real


def eroded(inside: np.ndarray, radius: float) -> np.ndarray:
    """Where the ball lies inside."""
    return (inside > 0) & (convolve(inside, ball(inside.shape, radius)) > 0.999)


def haar(image: np.ndarray, levels: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Haar's wavelets: means, and every level's seven bands of differences."""
    details = []
    for _ in range(levels):
        bands = image[None]
        for axis in (1, 2, 3):
            even, odd = (bands[(slice(None),) * axis + (slice(start, None, 2),)] for start in (0, 1))
            bands = np.concatenate([even + odd, even - odd]) * np.float32(0.5**0.5)
        image = bands[0]
        details.append(bands[1:])
    return image, details


def haar_inverse(means: np.ndarray, details: list[np.ndarray]) -> np.ndarray:
    """The image of those wavelets."""
    for rest in reversed(details):
        bands = np.concatenate([means[None], rest])
        for axis in (3, 2, 1):
            sums, differences = np.split(bands * np.float32(0.5**0.5), 2)
            bands = np.empty([n * (2 if a == axis else 1) for a, n in enumerate(sums.shape)], np.float32)
            bands[(slice(None),) * axis + (slice(0, None, 2),)] = sums + differences
            bands[(slice(None),) * axis + (slice(1, None, 2),)] = sums - differences
        means = bands[0]
    return means


def padded(image: np.ndarray, shape: Shape) -> np.ndarray:
    """With zeros up to a larger grid."""
    return np.pad(image, [(0, n - o) for n, o in zip(shape, image.shape, strict=True)]).astype(np.float32)


def cropped(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Back on the smaller grid."""
    x, y, z = shape
    return image[:x, :y, :z]


def referenced(chi: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """On the mask's grid, relative to its mean in the mask, zero outside."""
    chi = cropped(chi, mask.shape)
    return np.where(mask, chi - chi[mask].mean(), 0)


def without_border(mask: np.ndarray) -> np.ndarray:
    """Voxels whose six neighbours are in the mask as well; none may lie on the array's border."""
    out = mask.copy()
    for axis in range(3):
        out &= np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
    return out
