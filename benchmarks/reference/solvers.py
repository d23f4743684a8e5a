"""The two loops that most methods run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Operator = Callable[[np.ndarray], np.ndarray]
State = list[np.ndarray]


def conjugate_gradient(
    operator: Operator, right: np.ndarray, iterations: int, preconditioner: Operator = lambda r: r
) -> np.ndarray:
    """Steps from zero on a symmetric operator."""
    solution, residual = np.zeros_like(right), right
    direction = preconditioner(residual)
    energy = np.vdot(residual, direction)
    for _ in range(iterations):
        image = operator(direction)
        length = energy / np.vdot(direction, image)
        solution += length * direction
        residual = residual - length * image
        steepest = preconditioner(residual)
        new_energy = np.vdot(residual, steepest)
        direction = steepest + new_energy / energy * direction
        energy = new_energy
    return solution


def douglas_rachford(
    proximal: Callable[[State], State],
    nearest: Callable[[State], tuple[np.ndarray, Callable[[], State]]],
    state: State,
    iterations: int,
    relaxation: float = 1.0,
) -> np.ndarray:
    """Splitting, carried in split variable plus multiplier; ``nearest`` gives x, and Kx if asked."""
    for iteration in range(iterations + 1):
        split = proximal(state)
        chi, image = nearest([2 * z - v for z, v in zip(split, state, strict=True)])
        if iteration < iterations:
            moved = zip(state, image(), split, strict=True)
            state = [v + np.float32(relaxation) * (k - z) for v, k, z in moved]
    return chi


def shrink(vectors: State, threshold: Any) -> State:
    """Every value nearer to zero by the threshold, a number or one a voxel."""
    return [v - np.clip(v, -threshold, threshold) for v in vectors]
