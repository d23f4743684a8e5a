"""The whole pipeline: only region growing is the library's own, as it is compiled code on both sides."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from benchmarks.reference.background import v_sharp
from benchmarks.reference.grid import Shape, convolve, cropped, padded, squared_frequency
from benchmarks.reference.inversion import Problem, tv
from jaxqsm import Acquisition, Geometry
from jaxqsm.operators import fast_shape
from jaxqsm.unwrapping import romeo


def run(
    signal: np.ndarray,
    mask: np.ndarray,
    acquisition: Acquisition,
    b0_dir: np.ndarray,
    shape: Shape,
    iterations: int,
) -> np.ndarray:
    """Complex signal to χ by the library's stages, with V-SHARP and total variation."""
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
    weights = confidence.astype(np.float32) ** 2
    return tv(Problem(local, valid, weights, b0_dir, shape), iterations)


def _phase_offset(
    first: np.ndarray, difference: np.ndarray, magnitude: np.ndarray, mask: np.ndarray, times: np.ndarray
) -> np.ndarray:
    offset = first - difference * times[0] / (times[1] - times[0])
    weight = (mask * magnitude[..., 0] * magnitude[..., 1]).astype(np.float32)
    shape = fast_shape(mask.shape, [n // 4 for n in mask.shape])
    gauss = np.exp(-2 * (np.pi * 3) ** 2 * squared_frequency(shape)).astype(np.float32)

    def smooth(image: np.ndarray) -> np.ndarray:
        return cropped(convolve(padded(image, shape), gauss), mask.shape)

    smoothed = np.zeros_like(offset)
    for _ in range(4):
        rest = offset - smoothed
        smoothed = smoothed + np.arctan2(smooth(weight * np.sin(rest)), smooth(weight * np.cos(rest)))
    return smoothed
