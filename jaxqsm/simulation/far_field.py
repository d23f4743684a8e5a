"""The field in a small box of the rest of a head: coarse sources, and a harmonic polynomial through it."""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import fast_shape
from jaxqsm.phantoms.subject import Subject, sample_coarsely
from jaxqsm.phantoms.template import CENTRE, Template
from jaxqsm.phantoms.tissues import AIR_CHI
from jaxqsm.physics import dipole_convolve, dipole_kernel
from jaxqsm.simulation.acquisition import reduce, shim

SHAPE = (48, 48, 48)
STEP = 5.0
"""mm; with the shape, 240 mm about the head's centre."""

DEGREE = 9
"""Degree of the polynomials: 100 harmonics, enough for sources a tenth of the box away from it."""

RIDGE = 1e-5
"""Part of the normal equations' diagonal added to it, for float32."""


class Box(NamedTuple):
    """Corners in mm."""

    low: Float[Array, 3]
    high: Float[Array, 3]


class FarField(NamedTuple):
    """Harmonic polynomials of the fields (ppm) of all that lies beyond a box, valid within it.

    Attributes:
        within: of χ within the skull, coefficients of monomials ``x^i y^j z^k``.
        outside: of all else, in air. Air is taken off everywhere, in the box too, where it is uniform:
            so the box is no hole, whose walls would dominate the field.
        centre: mm, origin of the polynomials.
        scale: mm, unit of their coordinates.
        shim: coefficients, see :func:`shim`, of the whole head's field over its brain.
    """

    within: Float[Array, "i j k"]
    outside: Float[Array, "i j k"]
    centre: Float[Array, 3]
    scale: Float[Array, ""]
    shim: Float[Array, term]


def far_field(
    subject: Subject, head: Template, box: Box, b0_dir: Float[Array, 3], *, tissue: bool
) -> FarField:
    """Fit the fields of a head's 5 mm cells outside ``box`` within it.

    All their sources lie outside, so the fields are harmonic in the box: fitting polynomials that are
    harmonic leaves nothing that a background removal would take for tissue, whatever the cells' size.

    Args:
        subject: whose head.
        head: the template.
        box: what is left out of the sources, in mm.
        b0_dir: unit field direction.
        tissue: whether χ within the skull counts; if not, ``within`` is zero.
    """
    steps = jnp.full(3, STEP)
    within, outside, skull = sample_coarsely(subject, head, SHAPE, _origin(), steps)
    within = within if tissue else jnp.zeros_like(within)
    axes = _axes()
    overlap = [
        jnp.clip(
            (jnp.minimum(x + STEP / 2, box.high[i]) - jnp.maximum(x - STEP / 2, box.low[i])) / STEP, 0, 1
        )
        for i, x in enumerate(axes)
    ]
    beyond = 1 - overlap[0][:, None, None] * overlap[1][:, None] * overlap[2]
    shape = fast_shape(SHAPE, SHAPE)
    kernel = dipole_kernel(shape, Geometry(steps, b0_dir), kernel="greens")

    def convolve(chi: Array) -> Array:
        return dipole_convolve(chi, kernel, shape)

    centre = (box.low + box.high) / 2
    scale = jnp.linalg.norm(box.high - box.low) / 2
    places = [(x - centre[i]) / scale for i, x in enumerate(axes)]
    fit = functools.partial(_fit, places=places, weights=overlap)
    return FarField(
        within=fit(convolve(within * beyond)),
        outside=fit(convolve(outside * beyond - AIR_CHI)),
        centre=centre,
        scale=scale,
        shim=shim(convolve(within + outside - AIR_CHI), skull, axes, order=2),
    )


def evaluate(
    coefficients: Float[Array, "i j k"], far: FarField, axes: tuple[Float[Array, n], ...]
) -> Float[Array, "x y z"]:
    """Evaluate one of the polynomials of ``far`` on a grid with coordinates in mm along its axes."""
    return reduce(coefficients, [_powers((x - far.centre[i]) / far.scale) for i, x in enumerate(axes)])


def _origin() -> Array:
    return jnp.array([CENTRE[i] - STEP * (SHAPE[i] - 1) / 2 for i in range(3)])


def _axes() -> tuple[Array, ...]:
    return tuple(_origin()[i] + STEP * jnp.arange(n) for i, n in enumerate(SHAPE))


def _powers(x: Array) -> Array:
    return x[:, None] ** jnp.arange(DEGREE + 1)


@functools.cache
def _harmonics() -> tuple[np.ndarray, np.ndarray]:
    """Exponents of all monomials up to the degree, and an orthonormal basis of their harmonic sums."""
    exponents = np.array([e for e in itertools.product(range(DEGREE + 1), repeat=3) if sum(e) <= DEGREE], int)
    index = {tuple(e): i for i, e in enumerate(exponents)}
    laplacian = np.zeros((len(exponents), len(exponents)))
    for column, exponent in enumerate(exponents):
        for axis in range(3):
            if exponent[axis] >= 2:
                lower = exponent.copy()
                lower[axis] -= 2
                laplacian[index[tuple(lower)], column] += exponent[axis] * (exponent[axis] - 1)
    # Degree by degree, so that each basis vector is a solid harmonic of one degree.
    degrees = exponents.sum(axis=1)
    basis = []
    for degree in range(DEGREE + 1):
        members = np.flatnonzero(degrees == degree)
        _, values, vectors = np.linalg.svd(laplacian[:, members])
        rank = int((values > 1e-9 * max(values.max(), 1)).sum())
        null = np.zeros((len(members) - rank, len(exponents)))
        null[:, members] = vectors[rank:]
        basis.append(null)
    return exponents, np.concatenate(basis)


def _fit(field: Array, *, places: list[Array], weights: list[Array]) -> Float[Array, "i j k"]:
    """Weighted least squares of a field on the coarse grid; all sums factor over the axes."""
    exponents, basis = _harmonics()
    moments = [
        jnp.tensordot(w, x[:, None] ** jnp.arange(2 * DEGREE + 1), axes=1, precision="highest")
        for x, w in zip(places, weights, strict=True)
    ]
    i, j, k = exponents.T
    gram = moments[0][i[:, None] + i] * moments[1][j[:, None] + j] * moments[2][k[:, None] + k]
    right = reduce(field, [(w[:, None] * _powers(x)).T for x, w in zip(places, weights, strict=True)])
    normal = jnp.linalg.multi_dot([basis, gram, basis.T], precision="highest")
    size = jnp.sqrt(jnp.maximum(jnp.diagonal(normal), 1e-20))
    normal = normal / size[:, None] / size + RIDGE * jnp.eye(len(basis))
    solved = jnp.linalg.solve(normal, jnp.matmul(basis, right[i, j, k], precision="highest") / size) / size
    coefficients = jnp.matmul(solved, basis, precision="highest")
    return jnp.zeros((DEGREE + 1,) * 3).at[i, j, k].set(coefficients)
