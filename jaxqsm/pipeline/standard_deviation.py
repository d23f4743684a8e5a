"""Standard deviation of a map by any method of the stage ``uncertainty``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Array, Bool, Float

from jaxqsm.geometry import Geometry
from jaxqsm.methods import Method
from jaxqsm.uncertainty.perturbation import noise_of_voxels
from jaxqsm.variational.common import confidence

SEED = 0
"""Seed of methods that draw: the same scan has the same standard deviation."""


def standard_deviation_of(
    method: Method,
    chi: Float[Array, "x y z"],
    local_field: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    geometry: Geometry,
    inversion: Method | None = None,
    inversion_options: Mapping[str, Any] | None = None,
    *,
    magnitude: Float[Array, "x y z"] | None,
    weights: Float[Array, "x y z"] | None,
    options: Mapping[str, Any],
) -> Float[Array, "x y z"]:
    """Compute the standard deviation of χ in ppm by a method of the stage ``uncertainty``.

    Args:
        method: that gives the standard deviation.
        chi: the map, ppm.
        local_field: that it was made from, ppm.
        mask: where both are valid.
        geometry: voxel size and field direction.
        inversion: that made the map, for methods that follow noise through it.
        inversion_options: its keyword arguments, magnitude and weights included.
        magnitude: image, any unit, or None.
        weights: confidence in the field of each voxel, any unit, or None.
        options: of the method.

    Raises:
        ValueError: the method follows noise through an inversion, and there is none.
    """
    given = {
        "chi": chi,
        "local_field": local_field,
        "mask": mask,
        "geometry": geometry,
        "magnitude": magnitude,
        "weights": weights,
        "key": jax.random.key(SEED),
    }
    keywords = {name: value for name, value in given.items() if method.takes(name)} | dict(options)
    if method.takes("method"):
        if inversion is None:
            raise ValueError(f"{method.name} follows noise through an inversion of the local field")
        keywords["noise"] = noise_of_voxels(local_field, mask, confidence(weights, magnitude))
        keywords = dict(inversion_options or {}) | keywords | {"method": inversion.function}
    found = method.function(**keywords)
    return found if isinstance(found, jax.Array) else found.standard_deviation
