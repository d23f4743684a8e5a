"""Linear maps that are not the dipole: differences, means, padding, blocks, frequencies."""

from jaxqsm.operators.blocks import block_interpolate, block_mean
from jaxqsm.operators.differences import (
    SYMMETRIC_PAIRS,
    divergence,
    gradient,
    laplacian,
    squared_steepness,
    symmetric_gradient,
    symmetric_gradient_adjoint,
)
from jaxqsm.operators.erosion import erode, peel, without_border
from jaxqsm.operators.frequencies import (
    all_frequencies,
    difference_symbols,
    frequencies,
    laplacian_symbol,
    odd_frequencies,
)
from jaxqsm.operators.gaussian import gaussian_mean, gaussian_response
from jaxqsm.operators.padding import crop, fast_shape, pad
from jaxqsm.operators.poisson import poisson_solver
from jaxqsm.operators.spherical_mean import spherical_kernel, spherical_mean, weighted_mean
from jaxqsm.operators.wavelets import haar, haar_inverse

__all__ = [
    "SYMMETRIC_PAIRS",
    "all_frequencies",
    "block_interpolate",
    "block_mean",
    "crop",
    "difference_symbols",
    "divergence",
    "erode",
    "fast_shape",
    "frequencies",
    "gaussian_mean",
    "gaussian_response",
    "gradient",
    "haar",
    "haar_inverse",
    "laplacian",
    "laplacian_symbol",
    "odd_frequencies",
    "pad",
    "peel",
    "poisson_solver",
    "spherical_kernel",
    "spherical_mean",
    "squared_steepness",
    "symmetric_gradient",
    "symmetric_gradient_adjoint",
    "weighted_mean",
    "without_border",
]
