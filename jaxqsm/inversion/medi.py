"""Morphology enabled dipole inversion."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.operators import crop, pad
from jaxqsm.physics import dipole_convolve
from jaxqsm.tuning import weight_from_data
from jaxqsm.variational.admm import IMAGE_RHO, total_variation_admm
from jaxqsm.variational.data_terms import Proximal, of_phase
from jaxqsm.variational.edges import edge_weighted_shrink
from jaxqsm.variational.problem import inversion_problem, smv_filtered

OUTLIER = 6.0
"""Misfits beyond this many standard deviations lose weight, as published for MERIT."""


@partial(jax.jit, static_argnames=("smv_radius", "merit", "max_iterations"))
@weight_from_data(3e-4)
def medi(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    *,
    magnitude: Float[Array, "x y z"] | None = None,
    weights: Float[Array, "x y z"] | None = None,
    acquisition: Acquisition | None = None,
    start: Float[Array, "x y z"] | None = None,
    csf_mask: Bool[Array, "x y z"] | None = None,
    weight: float,
    edges: float = 0.3,
    smv_radius: float = 0.0,
    merit: int = 0,
    csf_weight: float = 0.1,
    tolerance: float = 2e-2,
    max_iterations: int = 200,
) -> Float[Array, "x y z"]:
    """Minimise ½ |W (exp(i s Dχ) − exp(i s field))|² / s² + weight Σ |M ∇χ|₁, edge-weighted by the magnitude.

    Use it where a magnitude with the edges of χ exists.

    χ may change where the magnitude does, and nowhere else without a price. The published method
    linearises and solves inner systems by conjugate gradients; this splits the terms, for the same minimum.

    Args:
        local_field: ppm, shape ``(x, y, z)``; what lies outside the mask is ignored.
        mask: where the field is valid.
        geometry: voxel size and field direction.
        magnitude: optional image, any unit, whose steepest differences are not penalised; weighs the data too
            where ``weights`` are not given.
        weights: optional confidence in the field of each voxel, any unit. Default: the magnitude, or 1.
        acquisition: echo times and field strength; the data term is then that of the phase, s being the
            acquisition's ``phase_scale``. Default: that of the field, the limit s → 0.
        start: χ in ppm to begin from, such as that of another weight. Default: none.
        csf_mask: where cerebrospinal fluid is known to be of one χ (MEDI+0). χ is then relative to it.
        weight: in ppm · mm. Default: chosen from the data (:func:`~jaxqsm.tuning.choose_weight`).
        edges: part of all differences in the mask that count as edges. Default 0.3, as published.
        smv_radius: mm; above 0, field and model are SMV-filtered with this radius, which removes
            what is left of the background, and the mask is eroded by it. Default 0: none; published with 5.
        merit: how often to solve again with less weight on voxels that miss by more than six standard
            deviations (MERIT). Default 0; 1 is enough where the phase is wrong in places.
        csf_weight: of ½ (χ − mean)² over ``csf_mask``. Default 0.1.
        tolerance: relative change of the iterate at which to stop. Default 2e-2.
        max_iterations: bound on the iterations. Default 200.

    Returns:
        χ in ppm, zero outside the mask; zero mean in the mask, or in ``csf_mask`` where given. Four real FFTs
        an iteration; exact gradients.

    References:
        Liu et al. 2012, NeuroImage 59:2560, doi:10.1016/j.neuroimage.2011.08.082 (edges, MEDI);
        Liu et al. 2013, MRM 69:467, doi:10.1002/mrm.24272 (nonlinear data term, MERIT);
        Liu et al. 2018, MRM 79:2795, doi:10.1002/mrm.26946 (MEDI+0).

    Example:
        >>> mask = jnp.ones((16, 16, 16), bool)
        >>> chi = medi(jnp.zeros(mask.shape), mask, Geometry(), max_iterations=2)
        >>> chi.shape
        (16, 16, 16)
    """
    given = inversion_problem(local_field, mask, geometry, weights, magnitude)
    if smv_radius > 0:
        given = smv_filtered(given, smv_radius)
    within = given.mask
    shrink = edge_weighted_shrink(magnitude, mask, geometry, given.shape, edges=edges)
    image = None if csf_mask is None else _of_one_value(pad(csf_mask & within, given.shape), csf_weight)

    weights = given.weights
    for again in range(merit + 1):
        chi = total_variation_admm(
            given,
            of_phase(given.field, weights, acquisition),
            weight=weight,
            shrink=shrink,
            image=image,
            start=start,
            tolerance=tolerance,
            max_iterations=max_iterations,
        )
        if again < merit:
            misfit = given.field - dipole_convolve(chi, given.kernel, given.shape)
            weights = _without_outliers(weights, misfit)
    reference = within if csf_mask is None else csf_mask & within
    chi = crop(chi, mask.shape)
    return (chi - jnp.sum(chi * reference) / jnp.maximum(reference.sum(), 1)) * within


def _of_one_value(region: Bool[Array, "X Y Z"], weight: float) -> Proximal:
    def proximal(v: Array) -> Array:
        mean = jnp.sum(v * region) / jnp.maximum(region.sum(), 1)
        nearer = mean + (v - mean) * IMAGE_RHO / (IMAGE_RHO + weight)
        return jnp.where(region, nearer, v)

    return proximal


def _without_outliers(weights: Float[Array, "X Y Z"], misfit: Float[Array, "X Y Z"]) -> Float[Array, "X Y Z"]:
    used = weights > 0
    weighted = jnp.sqrt(jnp.where(used, weights, 1)) * jnp.abs(misfit) * used
    standard_deviation = jnp.sqrt(jnp.sum(weighted**2) / jnp.maximum(used.sum(), 1))
    excess = weighted / jnp.maximum(OUTLIER * standard_deviation, 1e-30)
    return weights / jnp.maximum(excess, 1) ** 4
