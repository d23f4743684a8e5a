"""One input of a method, with its truth."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.phantoms import Protocol, Scan
from jaxqsm.pipeline import box_around, cut


class Trial(NamedTuple):
    """What a method is given, and what it should return; all cut to the brain.

    Attributes:
        field: ppm, with noise: the local field for an inversion, the total field for others.
        mask: where it is valid.
        magnitude: root of the sum of squares over echoes, any unit.
        geometry: voxel size and field direction.
        truth: ppm: χ, or the local field of a background removal.
        labels: :class:`~jaxqsm.phantoms.Tissue`.
    """

    field: Float[Array, "x y z"]
    mask: Bool[Array, "x y z"]
    magnitude: Float[Array, "x y z"]
    geometry: Geometry
    truth: Float[Array, "x y z"]
    labels: Integer[Array, "x y z"]


def make_trial(key: PRNGKeyArray, scan: Scan, protocol: Protocol, *, left_over: float = 0.0) -> Trial:
    """Local field as perfect unwrapping and background removal would leave it, with the scan's noise, and χ.

    Args:
        key: of the noise.
        scan: without noise.
        protocol: that it was taken by; its SNR gives the noise.
        left_over: part of the background field that is left in; default 0. With 1 it is the total field.
    """
    box = box_around(scan.mask)
    local, total, chi, mask, labels, signal = (
        jnp.asarray(cut(np.asarray(v), box))
        for v in (scan.local_field, scan.total_field, scan.chi, scan.mask, scan.labels, scan.signal)
    )
    amplitude = jnp.abs(signal)
    level = jnp.sum(mask * amplitude[..., 0]) / mask.sum()
    # The error of a weighted fit of the phase over echoes, whose noise goes with 1 / magnitude.
    sensitivity = protocol.acquisition.phase_per_ppm
    precision = jnp.sqrt(jnp.sum((amplitude * sensitivity) ** 2, axis=-1))
    noise = level / protocol.snr / jnp.maximum(precision, 1e-3 * jnp.max(precision))
    local = local + left_over * (total - local) + noise * jax.random.normal(key, local.shape)
    return Trial(
        field=local * mask,
        mask=mask,
        magnitude=jnp.sqrt(jnp.sum(amplitude**2, axis=-1)) * mask,
        geometry=protocol.geometry,
        truth=chi * mask,
        labels=labels,
    )
