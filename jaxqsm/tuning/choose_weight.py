"""A regularisation weight from the data themselves."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.operators import MaskedVolume
from jaxqsm.tuning.held_out import HELD_OUT_SIZE, hold_out
from jaxqsm.variational.common import confidence

STEP = 3.0**0.5
"""Ratio of neighbouring weights. The search goes by two steps at a time, and at its end by one."""

FIRST = 6
"""Power of the step at which the search begins, from the method's typical weight. Too light a weight is not
converged within the tolerance, which regularises as well: the search comes from smooth maps to detailed ones.
"""

LOWEST, HIGHEST = -6, 14
"""Powers of the step that may be tried: far below the typical weight χ is not regularised at all."""

HEAVIER = 1.25
"""The weight of the best χ over that of the best predicted field. No field shows what lies on the magic cone,
where errors are amplified most: on simulated heads, and on fields of measured χ, the ratio is 1 to 2. With
total fields it is 1: χ along the border, which single steps find too, wants light weights."""

LEAST_HELD_OUT = 600
"""Voxels. Fewer lie in one or two regions, whose field any weight may predict by chance."""

NOTHING = 0.05
"""Part of the misfit of no χ by which a map must differ from it, to tell anything of its weight."""


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
    neighbour, and in steps of √3 about the lowest; it and its neighbours make a parabola. What best predicts
    a local field is 1.25 times too light for χ: that is made good.

    Where fewer than 600 voxels are held out, the typical weight stands.

    A box about the middle of the mask stands for the whole, with half its sides: an eighth of the work. From
    a local field, that of the sources outside the box is subtracted, by closed-form inversion of the whole.

    Some methods predict the field about as well with any weight, as what that changes lies on the magic cone
    (:func:`~jaxqsm.inversion.rts`, :func:`~jaxqsm.inversion.heidi`), or can leave no voxel out
    (:func:`~jaxqsm.inversion.tikhonov`). Theirs follows that of :func:`~jaxqsm.inversion.tv`
    (:func:`in_proportion`).

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
            regions. Default: the method's, or 2.
        key: of the draw; default ``jax.random.key(0)``.
        options: further keyword arguments of the method.

    Returns:
        The weight, in the method's unit. Works under ``jit`` and ``vmap``; in gradients it is constant. It
        costs about half a solve, or less. Measured against the best weight of a grid in
        ``results/chosen_weights.md`` and, on a measured field, in ``results/measured.md``.

    Raises:
        ValueError: the method has no ``weight``, or no ``weights`` by which to leave voxels out.

    References:
        Stone 1974, J R Stat Soc B 36:111, doi:10.1111/j.2517-6161.1974.tb00994.x (cross-validation);
        Roberts et al. 2017, Ecography 40:913, doi:10.1111/ecog.02881 (blocks for correlated errors).

    Example:
        >>> weight = choose_weight(tv, field, mask, geometry)  # doctest: +SKIP
        >>> chi = tv(field, mask, geometry, weight=weight)  # doctest: +SKIP
    """
    typical = typical_weight(method) if typical is None else typical
    follow = getattr(method, "follow", None)
    if follow is not None:
        given = jax.lax.stop_gradient((field, mask, geometry, magnitude, weights))
        return follow(*given, key=key, **options)
    if "weights" not in inspect.signature(method).parameters:
        raise ValueError(
            f"{getattr(method, '__name__', method)} has no weights, by which voxels are left out"
        )
    if held_out_size is None:
        held_out_size = getattr(method, "held_out_size", HELD_OUT_SIZE)
    fixed = {name: value for name, value in options.items() if _is_plain(value)}
    others = {name: value for name, value in options.items() if not _is_plain(value)}
    key = jax.random.key(0) if key is None else key
    scan = jax.lax.stop_gradient((field, mask, geometry, magnitude, weights, others))
    return _chosen(method, typical, held_out_size, tuple(sorted(fixed.items())), *scan, key)


def in_proportion(
    like: Callable[..., Any], ratio: float, *, penalties: Mapping[str, float] | None = None
) -> Callable[..., Float[Array, ""]]:
    """Make the rule of :func:`~jaxqsm.tuning.weight_from_data` by which a weight follows another method's.

    Args:
        like: method whose weight is searched, with a penalty that grows as χ does.
        ratio: of the method's weight to that. Of a quadratic penalty, ratio of weight × root mean square of
            the field to that.
        penalties: factor on the ratio for each value of the method's option ``penalty``, if it is quadratic.

    Returns:
        ``follow(field, mask, geometry, magnitude, weights, *, key, **options) -> weight``.
    """

    def follow(
        field: Array,
        mask: Array,
        geometry: Geometry,
        magnitude: Array | None,
        weights: Array | None,
        *,
        key: PRNGKeyArray | None = None,
        **options: Any,
    ) -> Array:
        weight = ratio * choose_weight(
            like, field, mask, geometry, magnitude=magnitude, weights=weights, key=key
        )
        if penalties is None:
            return weight
        square = jnp.sum(jnp.where(mask, field, 0) ** 2) / jnp.maximum(mask.sum(), 1)
        factor = penalties.get(
            options.get("penalty", next(iter(penalties))), 1.0
        )  # the method refuses others
        return factor * weight * jax.lax.rsqrt(square)

    return follow


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
    total = "total_field" in parameters
    scan, (magnitude, given) = hold_out(
        (field, mask, geometry),
        confidence(weights, magnitude),
        (magnitude, given),
        region_size=held_out_size,
        total=total,
        key=key,
    )
    options = {**dict(fixed), **given}
    if "magnitude" in parameters:
        options["magnitude"] = magnitude

    def weight(power: Any) -> Array:
        return typical * STEP ** jnp.asarray(power, field.dtype)

    def solved(power: Array, start: Array) -> Any:
        volume = scan.field, scan.mask, geometry
        begun = {"start": start} if "start" in parameters else {}
        return method(*volume, weights=scan.weights, weight=weight(power), **options, **begun)

    def tried(state: tuple[Array, Array]) -> tuple[Array, Array]:
        misfits, chi = state
        which, _ = _next(misfits)
        chi, valid = MaskedVolume.of(solved(which + LOWEST, chi), scan.mask)
        misfit, nothing = scan.misfit(chi, valid), scan.misfit(jnp.zeros_like(chi), valid)
        # Weights so heavy that χ is next to none are all alike: lighter ones are to be tried.
        alike = jnp.abs(misfit - nothing) < NOTHING * nothing
        slightly = 1 + NOTHING * which / misfits.size
        return misfits.at[which].set(jnp.where(alike, nothing * slightly, misfit)), chi

    enough = scan.held_out.sum() >= LEAST_HELD_OUT
    unknown = jnp.full(HIGHEST - LOWEST + 1, jnp.inf, field.dtype)
    misfits, _ = jax.lax.while_loop(
        lambda state: enough & _next(state[0])[1], tried, (unknown, jnp.zeros_like(scan.field))
    )
    found = (1.0 if total else HEAVIER) * weight(_lowest(misfits) + LOWEST)
    return jnp.where(enough & (misfits.min() > 0), found, typical)


def _next(misfits: Float[Array, " weights"]) -> tuple[Array, Array]:
    """The next weight to try, the first or an unknown neighbour of the best; and whether there is one."""
    best = jnp.where(jnp.isinf(misfits).all(), FIRST - LOWEST, jnp.argmin(misfits))
    near = jnp.clip(best + jnp.array([0, -2, 2, -1, 1]), 0, misfits.size - 1)
    unknown = jnp.isinf(misfits[near])
    # A misfit of zero tells nothing: no held-out voxel was scored.
    return near[jnp.argmax(unknown)], unknown.any() & (misfits.min() > 0)


def _lowest(misfits: Float[Array, " weights"]) -> Float[Array, ""]:
    """Find where the parabola through the best and its neighbours is lowest."""
    best = jnp.argmin(misfits)
    near = jnp.clip(best + jnp.array([-1, 0, 1]), 0, misfits.size - 1)
    low, middle, high = jnp.log(jnp.maximum(misfits[near], 1e-30))
    bend = low - 2 * middle + high
    return best + jnp.where(bend > 0, jnp.clip(0.5 * (low - high) / jnp.where(bend > 0, bend, 1), -1, 1), 0)
