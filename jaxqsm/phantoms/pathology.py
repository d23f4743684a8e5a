"""Pathology: bleeds, calcium, tumours, plaques, cavities, metal."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from jaxqsm.phantoms.bodies import Bodies

LESION_REACH = 70.0
"""mm; no lesion reaches further end to end."""


class Kind(NamedTuple):
    """Ranges that one layer of a lesion is drawn from.

    Attributes:
        lesion: layers of one number share place, size and whether they are there at all.
        radius: mm, of the lesion.
        scale: of this layer's radius to the lesion's.
        chi: ppm.
        proton_density: relative to fluid.
        t1: s.
        r2star: 1/s, before what |χ| adds.
        strength: part of the tissue that is replaced.
    """

    lesion: int
    radius: tuple[float, float]
    scale: float
    chi: tuple[float, float]
    proton_density: float
    t1: float
    r2star: tuple[float, float]
    strength: tuple[float, float] = (1.0, 1.0)


LESIONS = (
    *[Kind(i, (2, 6), 1, (-0.01, 0.06), 0.9, 1.5, (10, 18), (0.5, 1)) for i in range(3)],  # plaques
    # Tumour: oedema, solid part, core that may have bled.
    Kind(3, (5, 11), 1.6, (0.0, 0.02), 0.95, 2.0, (6, 12), (0.6, 1)),
    Kind(3, (5, 11), 1.0, (0.0, 0.15), 0.88, 1.6, (15, 30), (0.6, 1)),
    Kind(3, (5, 11), 0.6, (-0.1, 0.3), 0.95, 2.5, (8, 40), (0.6, 1)),
    # Haemorrhage: rim of haemosiderin, core of another age.
    Kind(4, (3, 12), 1.0, (0.4, 1.5), 0.7, 1.2, (30, 40)),
    Kind(4, (3, 12), 0.75, (0.2, 1.2), 0.75, 1.2, (30, 40)),
    # Post-surgical cavity: rim of haemosiderin, fluid.
    Kind(5, (5, 14), 1.12, (0.1, 0.6), 0.85, 1.5, (20, 40)),
    Kind(5, (5, 14), 1.0, (0.0, 0.03), 1.0, 4.3, (1, 2)),
    *[Kind(6 + i, (0.8, 3), 1, (0.2, 1.5), 0.7, 1.2, (30, 40)) for i in range(4)],  # microbleeds
    *[Kind(10 + i, (1, 5), 1, (-1.5, -0.3), 0.3, 1.0, (20, 40)) for i in range(2)],  # calcifications
)
"""Layers of all lesions, in the order they are painted."""

R2STAR_PER_CHI = 60.0
"""1/s that each ppm of |χ| adds at 3 T: dephasing within a voxel that the field map does not resolve."""

TEETH = ((-28.0, 40.0, -85.0), (28.0, 72.0, -62.0))
FACE = ((-60.0, -60.0, -75.0), (60.0, 80.0, -30.0))
OUTSIDE = (TEETH, TEETH, FACE, FACE)


def random_lesions(
    places: Float[Array, "place 3"], *, key: PRNGKeyArray, probability: ArrayLike = 0.3
) -> Bodies:
    """Draw :data:`LESIONS`, each there with ``probability``, at places from ``places`` (mm).

    Up to ±1.5 ppm: plaques, a tumour, a haemorrhage, a cavity, microbleeds, calcifications.

    References:
        Strengths are of the order that Liu et al. 2015, JMRI 42:23, doi:10.1002/jmri.24768, review.
    """
    keys = jax.random.split(key, 8)
    count = len(LESIONS)
    lesion = np.array([k.lesion for k in LESIONS])
    number = lesion.max() + 1

    def between(k: PRNGKeyArray, name: str) -> Array:
        low, high = np.array([getattr(kind, name) for kind in LESIONS], np.float32).T
        return low + (high - low) * jax.random.uniform(k, (count,))

    radius_low, radius_high = np.array([k.radius for k in LESIONS], np.float32).T
    radius = radius_low + (radius_high - radius_low) * jax.random.uniform(keys[0], (number,))[lesion]
    radius = radius * np.array([k.scale for k in LESIONS], np.float32)
    centre = places[jax.random.randint(keys[1], (number,), 0, len(places))][lesion]
    present = jax.random.bernoulli(keys[2], probability, (number,))[lesion]
    chi = between(keys[3], "chi")
    values = jnp.stack(
        [
            chi,
            jnp.array([k.proton_density for k in LESIONS]),
            jnp.array([k.t1 for k in LESIONS]),
            between(keys[4], "r2star") + R2STAR_PER_CHI * jnp.abs(chi),
        ],
        axis=1,
    )
    shape = jnp.exp(jnp.clip(0.2 * jax.random.normal(keys[5], (number, 3)), -0.3, 0.3))[lesion]
    return Bodies(
        start=centre,
        end=centre,
        radii=radius[:, None] * shape,
        lumpiness=jnp.full(count, 0.25),
        values=values,
        within=jnp.ones(count),
        strength=jnp.where(present, between(keys[6], "strength"), 0.0),
    )


def random_outside_sources(*, key: PRNGKeyArray, probability: ArrayLike = 0.3) -> Bodies:
    """Draw metal at the teeth and strong bodies about the skull base, up to ±4 ppm, 3 … 8 mm.

    Each is there with ``probability``. Air in sinuses and ear canals is part of the head itself.
    """
    key_place, key_size, key_chi, key_sign, key_there = jax.random.split(key, 5)
    count = len(OUTSIDE)
    low, high = (jnp.array([box[i] for box in OUTSIDE]) for i in (0, 1))
    centre = low + (high - low) * jax.random.uniform(key_place, (count, 3))
    radius = jax.random.uniform(key_size, (count, 1), minval=3.0, maxval=8.0)
    metal = np.array([box is TEETH for box in OUTSIDE])
    sign = jnp.where(metal, 1, jax.random.rademacher(key_sign, (count,)))
    chi = sign * jax.random.uniform(key_chi, (count,), minval=0.5, maxval=4.0)
    rest = jnp.broadcast_to(jnp.array([0.05, 1.0, 300.0]), (count, 3))
    return Bodies(
        start=centre,
        end=centre,
        radii=jnp.repeat(radius, 3, axis=1),
        lumpiness=jnp.full(count, 0.25),
        values=jnp.concatenate([chi[:, None], rest], axis=1),
        within=-jnp.ones(count),
        strength=jax.random.bernoulli(key_there, probability, (count,)).astype(float),
    )
