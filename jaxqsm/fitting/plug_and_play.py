"""Inversions whose prior is a denoiser: the physics and a network that has seen only maps of χ in turn."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxqsm.fitting.descent import at_unit_size
from jaxqsm.geometry import Geometry
from jaxqsm.inversion import tv
from jaxqsm.inversion.common import referenced
from jaxqsm.networks import trained_network
from jaxqsm.networks.data_consistency import Measurement, proximal_step
from jaxqsm.physics import field_noise

TYPICAL_FIELD = 0.02
"""ppm, root mean square: fields are brought to it, as the denoiser has seen χ of brains."""

LEAST_NOISE = 1e-3
"""ppm at :data:`TYPICAL_FIELD`, if the field shows less: the model is not truer than that."""

SOLVER_ITERATIONS = 20
"""Of conjugate gradients a step, preconditioned in k-space and from the last χ."""


class Denoising(NamedTuple):
    """A scan beside a denoiser, at :data:`TYPICAL_FIELD`.

    Attributes:
        data: the field and its weights.
        start: χ by :func:`jaxqsm.inversion.tv`, ppm.
        noise: of the field where its weight is 1, ppm, by :func:`jaxqsm.physics.field_noise`.
        scale: that brings χ back.
    """

    data: Measurement
    start: Float[Array, "x y z"]
    noise: Float[Array, ""]
    scale: Float[Array, ""]


def plug_and_play(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    strongest: float = 0.2,
    weakest: float = 0.005,
    trust: float = 1.0,
    iterations: int = 12,
    weights: str = "denoiser",
) -> Float[Array, "x y z"]:
    """Minimise ½ |W (Dχ − field)|² / noise² plus what a denoiser takes for unlikely, from coarse to fine.

    In turn χ is denoised at a level, and drawn to the field by conjugate gradients with a pull of
    trust / level² towards what the denoiser found. The level falls from ``strongest`` to ``weakest``: at
    first the denoiser repairs streaks, at last it leaves detail alone (half-quadratic splitting). The
    denoiser knows no physics, so scans of any orientation, resolution and weights are alike to it.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional, any unit; W is then the magnitude over its root mean square.
        strongest, weakest: first and last level, ppm of χ where the field has a root mean square of 0.02 ppm.
            Defaults 0.2, several times χ, at which what varies slowly is found, and 0.005.
        trust: in the denoiser, against the noise that the field shows. Default 1.
        iterations: default 12.
        weights: name of weights that come with the package, or the path of a file that ``jaxqsm train``
            wrote for the task ``denoising``. Default ``"denoiser"``.

    Returns:
        χ in ppm, zero mean in the mask, zero outside. A pass of the network and about 130 real FFTs an
        iteration. In the middle of the head phantom at 2 mm the error with noise of 0.001, 0.002 and 0.005
        ppm is 18.9, 23.8 and 33.2 %, of :func:`jaxqsm.inversion.tv` 20.7, 22.2 and 49.2 %.

    Raises:
        ValueError: there are no such weights, or they are of another task.

    References:
        Venkatakrishnan, Bouman & Wohlberg 2013, GlobalSIP, doi:10.1109/GlobalSIP.2013.6737048; Zhang et al.
        2022, IEEE TPAMI 44:6360, doi:10.1109/TPAMI.2021.3088914 (falling levels).
    """
    graph, state = trained_network(weights, "denoising")
    levels = jnp.geomspace(strongest, weakest, iterations)
    scan = jnp.asarray(local_field), jnp.asarray(mask), geometry, magnitude
    return _alternate(graph, state, scan, levels, trust / levels**2)


def red(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    level: float = 0.03,
    trust: float = 1.0,
    iterations: int = 15,
    weights: str = "denoiser",
) -> Float[Array, "x y z"]:
    """Regularisation by denoising: χ where the field's pull balances that towards the denoised χ.

    Solves DW² (Dχ − field) / noise² + trust / level² (χ − denoised χ) = 0 by fixed-point iteration: the
    denoised χ is held, and the linear equation solved by conjugate gradients. Unlike
    :func:`plug_and_play` its level stays, so that what it converges to does not depend on how long it runs.

    Args:
        local_field, mask, geometry, magnitude: as for :func:`plug_and_play`.
        level: that the denoiser is told, ppm of χ where the field has a root mean square of 0.02 ppm.
            Default 0.03.
        trust: as for :func:`plug_and_play`.
        iterations: default 15.
        weights: as for :func:`plug_and_play`.

    Returns:
        χ in ppm, zero mean in the mask, zero outside.

    Raises:
        ValueError: there are no such weights, or they are of another task.

    References:
        Romano, Elad & Milanfar 2017, SIAM J Imaging Sci 10:1804, doi:10.1137/16M1102884.
    """
    graph, state = trained_network(weights, "denoising")
    levels = jnp.full(iterations, level)
    scan = jnp.asarray(local_field), jnp.asarray(mask), geometry, magnitude
    return _alternate(graph, state, scan, levels, trust / levels**2)


def beside_denoiser(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    magnitude: Float[Array, "x y z"] | None,
) -> Denoising:
    """The scan at the scale of the denoiser, a first χ, and the noise of the field."""
    data, size = at_unit_size(local_field, mask, geometry, magnitude)
    data = data._replace(field=TYPICAL_FIELD * data.field)
    start = tv(data.field, mask, geometry, magnitude=magnitude)
    noise = field_noise(data.field, data.weights, mask)
    return Denoising(data, start, jnp.maximum(noise, LEAST_NOISE), size / TYPICAL_FIELD)


@partial(jax.jit, static_argnums=0)
def _alternate(graph: Any, state: nnx.State, scan: tuple[Any, ...], levels: Array, pulls: Array) -> Array:
    local_field, mask, geometry, magnitude = scan
    given = beside_denoiser(local_field, mask, geometry, magnitude)
    one = jax.tree.map(lambda leaf: leaf[None], (mask, geometry))

    @jax.checkpoint
    def step(chi: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        level, pull = now
        denoised = nnx.merge(graph, state).denoise(referenced(chi, mask)[None], *one, level[None])[0]
        strength = pull * given.noise**2
        # χ agrees with the field already, the denoised one less so.
        solve = partial(proximal_step, iterations=SOLVER_ITERATIONS, start=chi)
        return solve(denoised, given.data, strength), None

    chi, _ = jax.lax.scan(step, given.start, (levels, pulls))
    return given.scale * referenced(chi, mask)
