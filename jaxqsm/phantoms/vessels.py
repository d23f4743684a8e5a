"""Trees of cerebral veins as chains of capsules."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from jaxqsm.phantoms.bodies import Bodies

GENERATIONS = 4
"""A trunk that splits in two, three times."""

SEGMENTS = 3
"""Capsules between two branching points."""

CAPSULES = SEGMENTS * (2**GENERATIONS - 1)
"""Capsules of one tree."""

SEGMENT_LENGTH = 5.0
"""mm, mean."""

LARGEST_RADIUS = 1.5
"""mm, of a trunk."""

LONGEST_SEGMENT = 1.3 * SEGMENT_LENGTH

SEGMENT_REACH = LONGEST_SEGMENT + 2 * LARGEST_RADIUS
"""mm; no capsule reaches further end to end, along any axis."""

BLOOD_CHI = 3.39 * 0.42
"""ppm of wholly deoxygenated blood relative to oxygenated: 0.27 ppm (cgs) · 4π, haematocrit 0.42."""


def random_vein_tree(
    root: Float[Array, 3],
    *,
    key: PRNGKeyArray,
    r2star_per_chi: ArrayLike = 120.0,
    oxygenation: ArrayLike | None = None,
) -> Bodies:
    """Draw one tree of 45 capsules from ``root`` (mm), radii shrinking by 2^(−1/3) a branching.

    Args:
        key: random key.
        root: mm, where the trunk begins.
        r2star_per_chi: R2* in 1/s that each ppm of χ adds to 15 1/s; default 120 (3 T).
        oxygenation: venous oxygen saturation; default drawn from 0.55 … 0.8.

    References:
        Spees et al. 2001, MRM 45:533, doi:10.1002/mrm.1072 (susceptibility of blood);
        Murray 1926, PNAS 12:207, doi:10.1073/pnas.12.3.207 (radii at branchings).
    """
    key_radius, key_oxygen, key_direction, key_walk, key_length = jax.random.split(key, 5)
    trunk = jax.random.uniform(key_radius, minval=0.4, maxval=LARGEST_RADIUS)
    if oxygenation is None:
        oxygenation = jax.random.uniform(key_oxygen, minval=0.55, maxval=0.8)
    chi = BLOOD_CHI * (1 - jnp.asarray(oxygenation))
    tips, ways = root[None], _unit(jax.random.normal(key_direction, (1, 3)))
    lengths = jax.random.uniform(key_length, (CAPSULES,), minval=0.7 * SEGMENT_LENGTH, maxval=LONGEST_SEGMENT)
    turns = jax.random.normal(key_walk, (CAPSULES + 2**GENERATIONS, 3))
    starts, ends, radii, done = [], [], [], 0
    for generation in range(GENERATIONS):
        for _ in range(SEGMENTS):
            ways = _unit(ways + 0.35 * turns[done : done + len(ways)])
            onwards = tips + lengths[done : done + len(ways), None] * ways
            done += len(ways)
            starts.append(tips)
            ends.append(onwards)
            radii.append(jnp.full(len(ways), trunk * 2 ** (-generation / 3)))
            tips = onwards
        aside = 0.7 * _unit(jnp.cross(ways, turns[-len(ways) :]))
        ways = _unit(jnp.concatenate([ways + aside, ways - aside]))
        tips = jnp.concatenate([tips, tips])
    values = jnp.stack([chi, jnp.asarray(0.85), jnp.asarray(1.6), 15 + r2star_per_chi * chi])
    return Bodies(
        start=jnp.concatenate(starts),
        end=jnp.concatenate(ends),
        radii=jnp.repeat(jnp.concatenate(radii)[:, None], 3, axis=1),
        lumpiness=jnp.zeros(CAPSULES),
        values=jnp.broadcast_to(values, (CAPSULES, 4)),
        within=jnp.ones(CAPSULES),
        strength=jnp.ones(CAPSULES),
    )


def _unit(vectors: Array) -> Array:
    return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)
