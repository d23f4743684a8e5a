"""Layers that pull an image of χ towards the measured field by the physics of the scan at hand.

All work on one scan; use ``jax.vmap`` for a batch, its geometries with it. All hold for any voxel size,
field direction, mask and weights, and are differentiable in everything, their strengths included.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.operators import irfftn, rfftn
from jaxqsm.physics import dipole_kernel
from jaxqsm.solvers import solve_symmetric
from jaxqsm.variational.common import data_weights, padded_shape


class Measurement(NamedTuple):
    """Field, weights and dipole kernel of a scan. Make it with :func:`measurement`.

    Attributes:
        field: local field, zero where there is no weight; any unit, that of χ.
        weights: W, confidence in each voxel of the field; 0 where it is not known.
        kernel: of the dipole on a padded grid (:func:`~jaxqsm.physics.dipole_kernel`).
    """

    field: Float[Array, "x y z"]
    weights: Float[Array, "x y z"]
    kernel: Float[Array, "X Y H"]

    def predict(self, chi: Float[Array, "x y z"]) -> Float[Array, "x y z"]:
        """Compute Dχ, and, as D is symmetric, its adjoint: two real FFTs."""
        x, y, h = self.kernel.shape
        shape = (x, y, 2 * (h - 1))
        spectrum = rfftn(chi, shape) * self.kernel
        return irfftn(spectrum, shape, chi.shape)

    def filter(self, image: Float[Array, "x y z"], response: Float[Array, "X Y H"]) -> Array:
        """Multiply by ``response`` in k-space."""
        return self._replace(kernel=response).predict(image)


def measurement(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    weights: Float[Array, "x y z"] | None = None,
) -> Measurement:
    """Collect field, weights and dipole kernel on a grid padded by a quarter.

    Args:
        local_field: ppm; what lies outside the mask is ignored.
        mask: where it is valid.
        geometry: voxel size and field direction.
        weights: optional confidence, any unit; scaled to a root mean square of 1 in the mask.
    """
    return Measurement(
        field=local_field * mask,
        weights=data_weights(mask, weights),
        kernel=dipole_kernel(padded_shape(local_field.shape), geometry),
    )


def at_unit_size(
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    weights: Float[Array, "x y z"] | None,
) -> tuple[Measurement, Float[Array, ""]]:
    """Scale the field to a weighted root mean square of 1; returns the scale too."""
    data = measurement(local_field, mask, geometry, weights)
    scale = root_mean_square(data.field * jnp.minimum(data.weights, 1), mask)
    return data._replace(field=data.field / scale), scale


TYPICAL_FIELD = 0.02
"""ppm, root mean square of a brain's local field: fields are brought to it where steps or priors suit it."""


def root_mean_square(field: Float[Array, "x y z"], mask: Bool[Array, "x y z"]) -> Float[Array, ""]:
    """Compute the root mean square of a field in a mask; 1 where it is all zero."""
    mean_square = jnp.sum((field * mask) ** 2) / jnp.maximum(mask.sum(), 1)
    return jnp.sqrt(jnp.where(mean_square > 0, mean_square, 1))


def gradient_step(
    chi: Float[Array, "x y z"], data: Measurement, step: Float[Array, ""] | float
) -> Float[Array, "x y z"]:
    """Step down ½ |W (Dχ − field)|²: χ − step · D W² (Dχ − field). Four FFTs.

    As in variational networks: Hammernik et al. 2018, MRM 79:3055, doi:10.1002/mrm.26977.
    """
    residual = data.weights**2 * (data.predict(chi) - data.field)
    return chi - step * data.predict(residual)


def nonlinear_step(
    chi: Float[Array, "x y z"],
    data: Measurement,
    step: Float[Array, ""] | float,
    *,
    phase_scale: Float[Array, ""] | float,
) -> Float[Array, "x y z"]:
    """Step down ½ |W (exp(is Dχ) − exp(is field))|² / s²: χ − step · D W² sin(s (Dχ − field)) / s.

    Wraps of the phase s · field do no harm, and voxels whose field is far off pull with bounded force. Tends
    to :func:`gradient_step` as ``phase_scale`` s tends to 0. Four FFTs.

    Args:
        chi: current image, in the unit of the field.
        data: the measurement.
        step: length; below 2 it converges where W ≤ 1, as |D| ≤ 2/3.
        phase_scale: s, rad per unit of the field; ``acquisition.phase_per_ppm`` at one echo.

    Source: Polak et al. 2020, NMR Biomed 33:e4271, doi:10.1002/nbm.4271 (NDI, VaNDI).
    """
    residual = jnp.sin(phase_scale * (data.predict(chi) - data.field)) / phase_scale
    return chi - step * data.predict(data.weights**2 * residual)


def closed_form_step(
    chi: Float[Array, "x y z"],
    data: Measurement,
    strength: Float[Array, ""] | float,
    *,
    rho: Float[Array, ""] | float = 1.0,
) -> Float[Array, "x y z"]:
    """Step exactly towards argmin_v ½ |W (Dv − field)|² + ½ strength |v − χ|². Four FFTs.

    The field is split off, y = Dv at ``rho`` t. First y, voxel by voxel: (W² field + t Dχ) / (W² + t),
    which outside the mask is what χ predicts. Then v in k-space: χ + D (y − Dχ) / (D² + strength). χ that
    explains the field stays as it is, whatever the strength.

    Args:
        chi: where to start and whom to stay near.
        data: the measurement.
        strength: of staying near; the smaller, the nearer to the data and the more noise.
        rho: t; 0 takes the field in the mask as it is.
    """
    squared = data.weights**2
    trust = squared / jnp.where(squared + rho > 0, squared + rho, 1)
    residual = trust * (data.field - data.predict(chi))
    return chi + data.filter(residual, data.kernel / (data.kernel**2 + strength))


def proximal_step(
    chi: Float[Array, "x y z"],
    data: Measurement,
    strength: Float[Array, ""] | float,
    *,
    max_iterations: int = 10,
    start: Float[Array, "x y z"] | None = None,
) -> Float[Array, "x y z"]:
    """Minimise ½ |W (Dv − field)|² + ½ strength |v − χ|² over v by conjugate gradients.

    The derivative is implicit: as the normal equations are symmetric, it is another solve with them, and
    memory does not grow with ``max_iterations``. It is that of the solution, so take iterations enough for
    the
    strength: 10 (default) reduce the error a thousandfold at a strength of 0.1. They are preconditioned by
    the inverse in k-space that weights of one size everywhere would have. They begin at ``start``, by default
    at χ.

    Source: Aggarwal, Mani & Jacob 2019, IEEE TMI 38:394, doi:10.1109/TMI.2018.2865356 (MoDL).
    """

    def normal(image: Array) -> Array:
        return data.predict(data.weights**2 * data.predict(image)) + strength * image

    squared = data.weights**2
    typical = jnp.sum(squared) / jnp.maximum(jnp.sum(squared > 0), 1)
    response = 1 / (typical * data.kernel**2 + strength)

    def near_inverse(image: Array) -> Array:
        return data.filter(image, response)

    start = chi if start is None else start
    right = data.predict(data.weights**2 * data.field) + strength * chi - normal(start)
    return start + solve_symmetric(normal, right, max_iterations=max_iterations, preconditioner=near_inverse)
