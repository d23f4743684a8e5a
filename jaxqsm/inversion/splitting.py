"""The engine of all inversions with a total-variation penalty: everything but χ is split off.

Every step is then closed-form: χ by division in k-space, gradients by shortening vectors, the predicted
field Dχ voxel by voxel by whatever data term there is. Methods differ in the data term, in where the penalty
applies, and in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Complex, Float

from jaxqsm.geometry import Geometry
from jaxqsm.inversion.common import data_weights, padded_shape, referenced
from jaxqsm.inversion.fidelity import Proximal
from jaxqsm.operators import (
    SYMMETRIC_PAIRS,
    crop,
    difference_symbols,
    divergence,
    erode,
    gradient,
    laplacian_symbol,
    pad,
    spherical_kernel,
    symmetric_gradient,
    symmetric_gradient_adjoint,
)
from jaxqsm.operators.differences import Vectors
from jaxqsm.operators.padding import Shape
from jaxqsm.physics import dipole_convolve, dipole_kernel
from jaxqsm.solvers import douglas_rachford, shrink_vectors

GRADIENT_TIGHTNESS = 100.0
"""Times the weight: how tightly the split gradient follows ∇χ. The published choice; any other has the same
solution, but takes longer to it."""

FIELD_TIGHTNESS = 0.1
"""Of the second order. With 1, the usual, slopes take four times as many iterations."""

HARMONIC_TIGHTNESS = 150.0
"""mm⁴; how tightly the split sources of a harmonic field follow its Laplacian."""

IMAGE_TIGHTNESS = 1e-2
"""How tightly the split image follows χ."""

SPACE = (-3, -2, -1)
"""Axes of space, whatever stands before them."""

Volume = Float[Array, "X Y Z"]
Shrink = Callable[[Vectors, ArrayLike], Vectors]


class Problem(NamedTuple):
    """An inversion on its padded grid.

    Field, weights and kernel may have one more axis in front: several measurements of one χ, of which
    :func:`first_order` takes account of all.

    Attributes:
        field: ppm, zero outside the mask.
        weights: square of the confidence in it, zero outside the mask.
        kernel: response of the field to χ on the half spectrum.
        geometry: voxel size and field direction.
        mask: of the scan, not padded.
    """

    field: Volume
    weights: Volume
    kernel: Float[Array, "X Y H"]
    geometry: Geometry
    mask: Bool[Array, "x y z"]

    @property
    def shape(self) -> Shape:
        """Of the padded grid."""
        x, y, z = self.field.shape[-3:]
        return x, y, z

    @property
    def trusted(self) -> Volume:
        """The field, zero where it has no weight: what is there would be forgotten slowly."""
        return jnp.where(self.weights > 0, self.field, 0)

    def split(self, start: Array | None) -> tuple[Vectors, Volume]:
        """Gradient and field of χ to begin from, which may be of the scan's grid or of the padded one.

        Without one: no gradient, and the field as measured.
        """
        if start is None:
            zeros = jnp.zeros(self.shape, self.field.dtype)
            return (zeros, zeros, zeros), self.trusted
        spectrum = jnp.fft.rfftn(pad(start, self.shape))
        predicted = jnp.fft.irfftn(spectrum * self.kernel, s=self.shape, axes=SPACE)
        return gradient(pad(start, self.shape), self.geometry), predicted

    def finish(self, chi: Volume) -> Float[Array, "x y z"]:
        """χ of the padded grid on that of the scan, relative to its mean in the mask."""
        return referenced(crop(chi, self.mask.shape), self.mask)


def problem(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    magnitude: Float[Array, "x y z"] | None,
    *,
    shape: Shape | None = None,
) -> Problem:
    """The problem that the arguments of an inversion state, on the usual padded grid or on another."""
    shape = padded_shape(local_field.shape) if shape is None else shape
    return Problem(
        field=pad(local_field * mask, shape),
        weights=pad(data_weights(mask, magnitude) ** 2, shape),
        kernel=dipole_kernel(shape, geometry),
        geometry=geometry,
        mask=mask,
    )


def behind_ball(given: Problem, radius: float) -> Problem:
    """The problem behind the filter δ − ball, which removes any background, where the ball fits in the mask.

    Args:
        given: the problem.
        radius: of the ball in mm.

    Returns:
        Field and kernel filtered, weights and mask eroded by the ball.
    """
    response = 1 - jnp.fft.rfftn(spherical_kernel(given.shape, radius, given.geometry)).real
    fits = erode(given.mask, radius, given.geometry)
    inside = pad(fits, given.shape)
    return given._replace(
        field=dipole_convolve(given.field, response, given.shape) * inside,
        weights=given.weights * inside,
        kernel=given.kernel * response,
        mask=fits,
    )


def behind_balls(given: Problem, radii: Sequence[float]) -> Problem:
    """The problem behind several balls at once: every voxel counts with the largest that fits about it.

    Args:
        given: the problem.
        radii: in mm.

    Returns:
        Fields, weights and kernels with an axis of balls in front; the mask is that of the smallest ball.
    """
    valid = jnp.zeros_like(given.mask)
    each = []
    for radius in sorted(radii, reverse=True):
        one = behind_ball(given, radius)
        each.append(one._replace(weights=one.weights * pad(~valid, given.shape)))
        valid = valid | one.mask
    return given._replace(
        field=jnp.stack([one.field for one in each]),
        weights=jnp.stack([one.weights for one in each]),
        kernel=jnp.stack([one.kernel for one in each]),
        mask=valid,
    )


def first_order(
    given: Problem,
    fidelity: Proximal,
    *,
    weight: ArrayLike,
    shrink: Shrink = shrink_vectors,
    image: Proximal | None = None,
    field_tightness: ArrayLike = 1.0,
    relaxation: float = 1.0,
    start: Array | None = None,
    tolerance: float | None,
    max_iterations: int,
) -> Volume:
    """χ of least data term + weight Σ |∇χ|, total variation, or a penalty like it.

    Args:
        given: the problem.
        fidelity: proximal map of the data term at ``field_tightness``, see :mod:`jaxqsm.inversion.fidelity`.
        weight: ppm · mm.
        shrink: proximal map of the penalty at unit weight, from gradients and threshold; default that of the
            sum of lengths.
        image: proximal map, at a tightness of :data:`IMAGE_TIGHTNESS`, of what else is known of χ itself.
        field_tightness: how tightly the split field follows Dχ; any has the same solution. The default 1, as
            published, moves χ at the pace of one measurement; several together can do with less.
        relaxation: of each step, see :func:`jaxqsm.solvers.douglas_rachford`.
        start: χ to begin from, on the scan's grid or the padded one; default: none.
        tolerance: relative change of the iterate at which to stop; None for exactly ``max_iterations``.
        max_iterations: bound on the iterations, of four real FFTs each, and two per further measurement.
    """
    shape, kernel, geometry = given.shape, given.kernel, given.geometry
    tightness = GRADIENT_TIGHTNESS * weight
    tightness_image = 0.0 if image is None else IMAGE_TIGHTNESS
    divisor = tightness * laplacian_symbol(shape, geometry) + field_tightness * _joined(kernel**2)
    divisor = divisor + tightness_image
    divisor = jnp.where(divisor > 0, divisor, 1)  # k = 0, where the numerator is zero as well

    def proximal(state):
        gradients, fields, images = state
        known = images if image is None else image(images)
        return shrink(gradients, 1 / GRADIENT_TIGHTNESS), fidelity(fields), known

    def nearest(state):
        gradients, fields, images = state
        pull = -tightness * divergence(gradients, geometry)
        if image is not None:
            pull = pull + tightness_image * images
        measured = field_tightness * _joined(kernel * jnp.fft.rfftn(fields, axes=SPACE))
        spectrum = (jnp.fft.rfftn(pull) + measured) / divisor
        chi = jnp.fft.irfftn(spectrum, s=shape)
        predicted = jnp.fft.irfftn(spectrum * kernel, s=shape, axes=SPACE)
        return chi, (gradient(chi, geometry), predicted, None if image is None else chi)

    begun = jnp.zeros(shape, given.field.dtype) if start is None else pad(start, shape)
    return douglas_rachford(
        proximal,
        nearest,
        (*given.split(start), None if image is None else begun),
        relaxation=relaxation,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )


def completed(
    spectrum: Complex[Array, "X Y H"],
    known: Float[Array, "X Y H"],
    given: Problem,
    *,
    weight: ArrayLike,
    shrink: Shrink = shrink_vectors,
    start: Array | None = None,
    tolerance: float,
    max_iterations: int,
) -> Volume:
    """χ of least ½ Σ known |χ̂ − spectrum|² + weight Σ |∇χ|: the rest of k-space by total variation.

    Args:
        spectrum: of χ, on the half spectrum.
        known: how much it is to be believed at each frequency, 0 to 1.
        given: the problem; its grid and geometry are used.
        weight: ppm · mm.
        shrink: as in :func:`first_order`.
        start: as in :func:`first_order`; default: what is known.
        tolerance: relative change of the iterate at which to stop.
        max_iterations: bound on the iterations, of two real FFTs each.
    """
    shape, geometry = given.shape, given.geometry
    tightness = GRADIENT_TIGHTNESS * weight
    divisor = tightness * laplacian_symbol(shape, geometry) + known
    divisor = jnp.where(divisor > 0, divisor, 1)

    begun = jnp.fft.irfftn(known * spectrum, s=shape) if start is None else pad(start, shape)

    def nearest(gradients):
        pull = jnp.fft.rfftn(-tightness * divergence(gradients, geometry))
        chi = jnp.fft.irfftn((pull + known * spectrum) / divisor, s=shape)
        return chi, gradient(chi, geometry)

    return douglas_rachford(
        lambda gradients: shrink(gradients, 1 / GRADIENT_TIGHTNESS),
        nearest,
        gradient(begun, geometry),
        tolerance=tolerance,
        max_iterations=max_iterations,
    )


def second_order(
    given: Problem,
    fidelity: Proximal,
    *,
    weight: ArrayLike,
    ratio: ArrayLike,
    harmonic_in: Bool[Array, "X Y Z"] | None = None,
    relaxation: float = 1.0,
    start: Array | None = None,
    tolerance: float,
    max_iterations: int,
) -> Volume:
    """χ of least data term + weight Σ (|∇χ − w| + ratio |ℰw|) over χ and w: total generalised variation.

    ℰ is the symmetrised gradient. Where w = ∇χ costs nothing χ may have any constant slope.

    Args:
        given: the problem.
        fidelity: proximal map of the data term at a tightness of :data:`FIELD_TIGHTNESS`.
        weight: ppm · mm.
        ratio: mm, of the second penalty's weight to the first's.
        harmonic_in: if given, the field is that of χ and another, harmonic there, which is found along.
        relaxation, start: as in :func:`first_order`.
        tolerance: relative change of the iterate at which to stop.
        max_iterations: bound on the iterations, of ten real FFTs each, with another field twelve.
    """
    shape, kernel, geometry = given.shape, given.kernel, given.geometry
    found_along = harmonic_in is not None
    tightness = GRADIENT_TIGHTNESS * weight
    tightness_second = GRADIENT_TIGHTNESS * weight * ratio**2
    symbols = difference_symbols(shape, geometry)
    energy = laplacian_symbol(shape, geometry)
    # ℰᵀℰ on vectors is ½ (energy + e eᴴ), e the symbol of the gradient: its inverse is closed-form.
    across = tightness + 0.5 * tightness_second * energy
    along = tightness + tightness_second * energy
    # Another field h, if any, is least tight · |Dχ + h − field|² + stiff · |∇²h − sources|², energy h = −∇²h.
    tight, stiff = FIELD_TIGHTNESS, HARMONIC_TIGHTNESS
    yielding = 1 / (tight + stiff * energy**2)
    followed = tight * stiff * energy * yielding
    # With w and h eliminated, what ties χ to its gradients and its field.
    divisor = tightness * energy - tightness**2 * energy / along
    divisor = divisor + (followed * energy if found_along else tight) * kernel**2
    divisor = jnp.where(divisor > 0, divisor, 1)

    def proximal(state):
        gradients, curvatures, fields, sources = state
        return (
            shrink_vectors(gradients, 1 / GRADIENT_TIGHTNESS),
            _shrink_symmetric(curvatures, 1 / (GRADIENT_TIGHTNESS * ratio)),
            fidelity(fields),
            None if harmonic_in is None else jnp.where(harmonic_in, 0, sources),
        )

    def nearest(state):
        gradients, curvatures, fields, sources = state
        slopes = tuple(
            tightness_second * c - tightness * g
            for c, g in zip(symmetric_gradient_adjoint(curvatures, geometry), gradients, strict=True)
        )
        right = [jnp.fft.rfftn(slope) for slope in slopes]
        projected = sum(jnp.conj(e) * r for e, r in zip(symbols, right, strict=True))
        pull = jnp.fft.rfftn(-tightness * divergence(gradients, geometry))
        forth = jnp.fft.rfftn(fields)
        if found_along:
            apart = jnp.fft.rfftn(sources)
            met = followed * (energy * forth + apart)
        else:
            met = tight * forth
        spectrum = (pull + kernel * met + tightness * projected / along) / divisor
        # w = T⁻¹ (tightness e χ + right), T = across + (along − across) e eᴴ / energy.
        inner = projected + tightness * energy * spectrum
        shared = inner * (across - along) / jnp.where(energy > 0, energy, 1) / along
        x, y, z = (
            jnp.fft.irfftn((e * (tightness * spectrum + shared) + r) / across, s=shape)
            for e, r in zip(symbols, right, strict=True)
        )
        slope = x, y, z
        chi = jnp.fft.irfftn(spectrum, s=shape)
        field = spectrum * kernel
        if found_along:
            other = (tight * (forth - field) - stiff * energy * apart) * yielding
            field, sources = field + other, jnp.fft.irfftn(-energy * other, s=shape)
        rest = tuple(g - s for g, s in zip(gradient(chi, geometry), slope, strict=True))
        predicted = jnp.fft.irfftn(field, s=shape)
        return chi, (rest, symmetric_gradient(slope, geometry), predicted, sources)

    zeros = jnp.zeros_like(given.field)
    gradients, fields = given.split(start)
    return douglas_rachford(
        proximal,
        nearest,
        (gradients, (zeros,) * 6, fields, zeros if found_along else None),
        relaxation=relaxation,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )


def _joined(spectra: Array) -> Array:
    """Sum over measurements, where there are several."""
    return jnp.sum(spectra, axis=0) if spectra.ndim == 4 else spectra


def _shrink_symmetric(matrix: tuple[Volume, ...], threshold: ArrayLike) -> tuple[Volume, ...]:
    """Shorten matrices by ``threshold`` in the Frobenius norm."""
    root = jnp.sqrt(2.0)
    vectors = tuple(m if i == j else root * m for (i, j), m in zip(SYMMETRIC_PAIRS, matrix, strict=True))
    shorter = shrink_vectors(vectors, threshold)
    return tuple(m if i == j else m / root for (i, j), m in zip(SYMMETRIC_PAIRS, shorter, strict=True))
