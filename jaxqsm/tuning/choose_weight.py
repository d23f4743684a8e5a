"""A regularisation weight from the data themselves."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import bicgstab
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.operators import MaskedVolume, crop
from jaxqsm.operators.padding import Shape
from jaxqsm.physics import dipole_field
from jaxqsm.tuning.far_sources import field_of_far_sources
from jaxqsm.variational.common import data_weights
from jaxqsm.variational.problem import inversion_problem, smv_filtered_by_radii

STEP = 3.0
"""Ratio of neighbouring weights that are tried."""

FIRST = 3
"""Power of the step at which the search begins, from the method's typical weight. Too light a weight is not
converged within the tolerance, which regularises as well: the search comes from smooth maps to detailed ones.
"""

REACH = 7
"""Highest and lowest power of the step that may be tried."""

PART = 2
"""One over the length of the box, of each side of the image, whose field is inverted for the search."""

LEAST = 48
"""Voxels that a side of the box has at least."""

RIM = 6
"""Voxels along the faces of the box whose field is not held out: that of far sources errs most there."""

HELD_OUT = 0.1
"""Part of the voxels whose field the inversion does not see."""

HELD_OUT_SIZE = 2.0
"""Voxels. Errors of measured fields are alike in neighbouring voxels: single voxels would be predicted by an
image that fits the errors of the rest."""

LITTLE = 1e-3
"""Magnitude of held-out voxels, as a part: no weight, yet a single step finds their field in SMV kernels
around."""

FILLING_ITERATIONS = 30
"""Iterations of BiCGSTAB for the field that a linear method predicts of itself in held-out voxels."""

SCORED_RADII = (8.0, 4.0, 2.0)
"""Radii in mm of the SMV kernels that the residual is scored behind."""


def choose_weight(
    method: Callable[..., Any],
    field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    typical: float | None = None,
    held_out_size: float | None = None,
    key: PRNGKeyArray | None = None,
    **options: Any,
) -> Float[Array, ""]:
    """Find the regularisation weight whose χ best predicts held-out regions of the field.

    A tenth of the voxels, in random regions a few voxels wide, get no weight in the data term. Too small a
    weight fits the errors of the rest, too large a one not even their field: both predict the held-out field
    badly. Regions, not single voxels, since errors that are smooth (frequency shifts, what is alike by
    interpolation) predict each other from voxel to voxel. Scored is the SMV-filtered residual, which no
    background passes, be it the whole of it in a single step or what its removal left. Weights are tried
    downhill in steps of 3 from 27 times the method's typical weight, each begun at the map of its
    neighbour; the lowest and its neighbours make a parabola.

    A box about the middle of the mask stands for the whole, with half its sides: an eighth of the work. From
    a local field, that of the sources outside the box is subtracted, by closed-form inversion of the whole.

    A linear method without weights, as :func:`~jaxqsm.inversion.tikhonov`, is given in the held-out regions
    the very field that it predicts there.

    Args:
        method: an inversion with a ``weight``, such as :func:`~jaxqsm.inversion.tv`,
            :func:`~jaxqsm.inversion.medi` or :func:`~jaxqsm.inversion.l1_qsm`; or a single step, which gives
            χ and mask, such as :func:`~jaxqsm.single_step.ss_tv`; or a function of one's own with a
            keyword ``weight``.
        field: ppm, shape ``(x, y, z)``: what the method takes, local or total.
        mask: where it is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit; weighs the data where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        typical: weight near which to search. Default: the method's.
        held_out_size: standard deviation in voxels of the Gaussian whose smoothed noise shapes the held-out
            regions; 0 for single voxels. Default: the method's, or 2.
        key: of the draw; default ``jax.random.key(0)``.
        options: further keyword arguments of the method.

    Returns:
        The weight, in the method's unit. Works under ``jit`` and ``vmap``; in gradients it is constant. It
        costs about half a solve, or less. Measured against the best weight of a grid in
        ``results/chosen_weights.md`` and, on a measured field, in ``results/measured.md``.

    Raises:
        ValueError: the method has no ``weight``.

    References:
        Stone 1974, J R Stat Soc B 36:111, doi:10.1111/j.2517-6161.1974.tb00994.x (cross-validation);
        Roberts et al. 2017, Ecography 40:913, doi:10.1111/ecog.02881 (blocks for correlated errors).

    Example:
        >>> weight = choose_weight(tv, field, mask, geometry)  # doctest: +SKIP
        >>> chi = tv(field, mask, geometry, weight=weight)  # doctest: +SKIP
    """
    typical = typical_weight(method) if typical is None else typical
    if held_out_size is None:
        held_out_size = getattr(method, "held_out_size", HELD_OUT_SIZE)
    fixed = {name: value for name, value in options.items() if _is_plain(value)}
    given = {name: value for name, value in options.items() if not _is_plain(value)}
    key = jax.random.key(0) if key is None else key
    scan = jax.lax.stop_gradient((field, mask, geometry, magnitude, weights, given))
    return _chosen(method, typical, held_out_size, tuple(sorted(fixed.items())), *scan, key)


def typical_weight(method: Callable[..., Any]) -> float:
    """Find the weight that a method states as its typical one, or else its default.

    Raises:
        ValueError: it has no weight, or neither of them.
    """
    name = getattr(method, "__name__", method)
    parameters = inspect.signature(method).parameters
    if "weight" not in parameters:
        raise ValueError(f"{name} has no weight")
    typical = getattr(method, "typical_weight", parameters["weight"].default)
    if not isinstance(typical, (int, float)):
        raise ValueError(f"{name} has no typical weight to search near; give one as typical")
    return float(typical)


def _is_plain(value: Any) -> bool:
    """Check for an option that the compiler may take as a constant."""
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return all(isinstance(v, (int, float)) for v in value)
    return isinstance(value, (bool, int, float, str))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _chosen(
    method: Callable[..., Any],
    typical: float,
    held_out_size: float,
    fixed: Sequence[tuple[str, Any]],
    field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    magnitude: Float[Array, "x y z"] | None,
    weights: Float[Array, "x y z"] | None,
    given: Mapping[str, Any],
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    parameters = inspect.signature(method).parameters
    whole, size = mask.shape, _box_size(mask.shape)
    if size != whole:
        corner = _box_corner(mask, size)
        if "total_field" not in parameters:
            field = field - field_of_far_sources(field, mask, corner, size, geometry)
        field, mask, magnitude, weights, given = jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice(leaf, corner, size) if jnp.shape(leaf) == whole else leaf,
            (field, mask, magnitude, weights, given),
        )
    field = field * mask
    sure = data_weights(mask, weights, magnitude)
    inner = jnp.pad(jnp.ones([n - 2 * RIM for n in mask.shape], bool), RIM) if size != whole else mask
    held_out = _regions(mask & inner, held_out_size, key)
    shown = jnp.where(held_out, LITTLE, 1) * sure
    options = {**dict(fixed), **given}
    if "magnitude" in parameters:
        options["magnitude"] = magnitude

    def weight(power: Any) -> Array:
        return typical * STEP ** jnp.asarray(power, field.dtype)

    def offset(predicted: Array) -> Array:
        return jnp.sum(shown * (field - predicted)) / jnp.maximum(jnp.sum(shown), 1e-30)

    def solved(power: Array, start: Array) -> Any:
        if "weights" in parameters:
            begun = {"start": start} if "start" in parameters else {}
            return method(field, mask, geometry, weights=shown, weight=weight(power), **options, **begun)

        def predicted(filled: Array) -> Array:
            found = dipole_field(method(filled, mask, geometry, weight=weight(power), **options), geometry)
            return jnp.where(held_out, found + offset(found), 0)

        # Where the method is linear, so is the field that it predicts where it was given that very field.
        known = jnp.where(held_out, 0, field)
        first = predicted(known)
        filled, _ = bicgstab(
            lambda unknown: unknown - predicted(known + unknown) + first,
            first,
            maxiter=FILLING_ITERATIONS,
            tol=1e-2,
        )
        return method(known + filled, mask, geometry, weight=weight(power), **options)

    def tried(state: tuple[Array, Array]) -> tuple[Array, Array]:
        misfits, chi = state
        which, _ = _next(misfits)
        found = solved(which - REACH, chi)
        chi, valid = MaskedVolume.of(found, mask)
        residual = _smv_filtered((field - dipole_field(chi, geometry)) * mask, mask, geometry) * valid
        misfit = jnp.sum((sure * residual) ** 2 * held_out)
        return misfits.at[which].set(misfit), chi

    unknown = jnp.full(2 * REACH + 1, jnp.inf, field.dtype)
    misfits, _ = jax.lax.while_loop(lambda s: _next(s[0])[1], tried, (unknown, jnp.zeros_like(field)))
    return weight(_lowest(misfits) - REACH)


def _box_size(shape: tuple[int, ...]) -> Shape:
    x, y, z = (min(n, max(LEAST, -(-n // PART))) for n in shape)
    return x, y, z


def _box_corner(mask: Bool[Array, "x y z"], size: Shape) -> tuple[Array, ...]:
    """First voxel of a box about the centre of the mask."""
    profiles = (mask.sum(tuple(other for other in range(3) if other != axis)) for axis in range(3))
    return tuple(
        jnp.clip(jnp.round(jnp.average(jnp.arange(n), weights=p + 1e-9) - s / 2).astype(int), 0, n - s)
        for n, p, s in zip(mask.shape, profiles, size, strict=True)
    )


def _next(misfits: Float[Array, " weights"]) -> tuple[Array, Array]:
    """The next weight to try, the first or an unknown neighbour of the best; and whether there is one."""
    best = jnp.where(jnp.isinf(misfits).all(), FIRST + REACH, jnp.argmin(misfits))
    near = jnp.clip(best + jnp.array([0, -1, 1]), 0, misfits.size - 1)
    unknown = jnp.isinf(misfits[near])
    return near[jnp.argmax(unknown)], unknown.any()


def _lowest(misfits: Float[Array, " weights"]) -> Float[Array, ""]:
    """Find where the parabola through the best and its neighbours is lowest."""
    best = jnp.argmin(misfits)
    near = jnp.clip(best + jnp.array([-1, 0, 1]), 0, misfits.size - 1)
    low, middle, high = jnp.log(jnp.maximum(misfits[near], 1e-30))
    bend = low - 2 * middle + high
    return best + jnp.where(bend > 0, jnp.clip(0.5 * (low - high) / jnp.where(bend > 0, bend, 1), -1, 1), 0)


def _regions(mask: Bool[Array, "x y z"], size: float, key: PRNGKeyArray) -> Bool[Array, "x y z"]:
    """Draw the regions where smoothed noise is highest, :data:`HELD_OUT` of the mask."""
    frequencies = jnp.meshgrid(*(jnp.fft.fftfreq(n) for n in mask.shape), indexing="ij")
    response = jnp.exp(-2 * (jnp.pi * size) ** 2 * sum(k**2 for k in frequencies))
    smooth = jnp.fft.ifftn(response * jnp.fft.fftn(jax.random.normal(key, mask.shape))).real
    return mask & (smooth > jnp.nanquantile(jnp.where(mask, smooth, jnp.nan), 1 - HELD_OUT))


def _smv_filtered(
    field: Float[Array, "x y z"], mask: Bool[Array, "x y z"], geometry: Geometry
) -> Float[Array, "x y z"]:
    """Field filtered by the largest SMV kernel that fits about each voxel; zero where none fits."""
    each = smv_filtered_by_radii(inversion_problem(field, mask, geometry, None), SCORED_RADII)
    return crop(jnp.sum(each.field * (each.weights > 0), axis=0), mask.shape)
