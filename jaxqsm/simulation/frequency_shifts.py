"""Frequency shifts of tissue that are not the dipole field of an isotropic χ."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxqsm.geometry import Geometry
from jaxqsm.physics import magnetisation_field


class ShiftStrengths(NamedTuple):
    """Sizes of the shifts in ppm of the main field.

    Attributes:
        microstructure: by which fibres across the field resonate lower than fibres along it. About 0.01.
        exchange: offset of white matter, of either sign: water that binds to protein and lipid. About 0.005.
        anisotropy: by which χ along fibres exceeds χ across them. 0.014 to 0.019 in spinal cord.
        flow: of blood in veins, of either sign: spins that move along a gradient gain phase.
    """

    microstructure: Float[Array, ""]
    exchange: Float[Array, ""]
    anisotropy: Float[Array, ""]
    flow: Float[Array, ""]


def frequency_shifts(
    white: Float[Array, "x y z"],
    vein: Float[Array, "x y z"],
    fibres: Float[Array, "3 x y z"],
    geometry: Geometry,
    strengths: ShiftStrengths,
) -> Float[Array, "x y z"]:
    """Compute the shift of fibres, exchange and flow, of which only exchange is the same in all orientations.

    −m w sin²θ + e w + f v + field of a w (v̂ (v̂·b) − b/3): w and v are the parts of white matter and veins,
    θ is the angle between fibre v̂ and field b. The first is the hollow cylinder's and the Lorentzian
    correction's dependence on direction; the last is the dipole field of anisotropic χ whose mean over
    directions is zero.

    Args:
        white: part of each voxel in white matter.
        vein: part in veins.
        fibres: unit vectors along fibres, voxel axes; 0 where there are none.
        geometry: voxel size and field direction.
        strengths: m, e, a and f.

    Returns:
        Shift in ppm. Five real FFTs.

    References:
        Wharton & Bowtell 2012, PNAS 109:18559, doi:10.1073/pnas.1211075109 (hollow cylinders);
        He & Yablonskiy 2009, PNAS 106:13558, doi:10.1073/pnas.0904899106 (Lorentzian correction);
        Luo et al. 2010, J Magn Reson 202:102, doi:10.1016/j.jmr.2009.10.005 (exchange);
        van Gelderen et al. 2015, MRM 74:1388, doi:10.1002/mrm.25524 (size of the anisotropy).

    Example:
        >>> white = jnp.ones((16, 16, 16))
        >>> along_x = jnp.stack([white, 0 * white, 0 * white])
        >>> strengths = ShiftStrengths(*jnp.array([0.01, 0.0, 0.0, 0.0]))
        >>> shift = frequency_shifts(white, 0 * white, along_x, Geometry(), strengths)
        >>> round(float(shift[8, 8, 8]), 4)
        -0.01
    """
    b = geometry.unit_b0_dir
    along = jnp.tensordot(b, fibres, axes=1, precision="highest")
    directed = jnp.sum(fibres**2, axis=0)  # 1 where there are fibres
    local = white * (strengths.exchange - strengths.microstructure * (directed - along**2))
    anisotropic = anisotropic_field(strengths.anisotropy * white * directed, fibres, geometry)
    return local + strengths.flow * vein + anisotropic


def anisotropic_field(
    anisotropy: Float[Array, "x y z"], fibres: Float[Array, "3 x y z"], geometry: Geometry
) -> Float[Array, "x y z"]:
    """Compute the field in ppm of what fibres add to the mean susceptibility: Δχ (v̂ (v̂·b) − b/3)."""
    b = geometry.unit_b0_dir
    along = jnp.tensordot(b, fibres, axes=1, precision="highest")
    return magnetisation_field(anisotropy * (fibres * along - b[:, None, None, None] / 3), geometry)
