"""One input of a method, with its truth."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, PRNGKeyArray

from jaxqsm.geometry import Geometry
from jaxqsm.pipeline import box_around, cut
from jaxqsm.simulation import Protocol, Scan

TURN = 2 * jnp.pi


class Trial(NamedTuple):
    """One input of a method with its ground truth, cut to the brain.

    Attributes:
        field: with noise: wrapped phase in radians for unwrapping, the total field in ppm for background
            removal and single steps, the local field in ppm for an inversion.
        mask: where it is valid.
        magnitude: root of the sum of squares over echoes, or of the echo whose phase it is; any unit.
        geometry: voxel size and field direction.
        truth: the phase with all its turns, the local field, or χ.
        labels: :class:`~jaxqsm.phantoms.Tissue`.
    """

    field: Float[Array, "x y z"]
    mask: Bool[Array, "x y z"]
    magnitude: Float[Array, "x y z"]
    geometry: Geometry
    truth: Float[Array, "x y z"]
    labels: Integer[Array, "x y z"]


def make_trial(
    scan: Scan,
    protocol: Protocol,
    *,
    key: PRNGKeyArray,
    stage: str = "inversion",
    residual_background: float = 0.0,
) -> Trial:
    """Make the input of ``stage`` from the truth and the scan's noise, and the output it should have.

    Args:
        key: of the noise.
        scan: without noise.
        protocol: that it was taken by; its SNR gives the noise.
        stage: ``unwrapping``, of the last echo, ``background``, ``single_step``, ``inversion`` or
            ``uncertainty``, whose input is that of an inversion. Default ``inversion``.
        residual_background: residual background field of an inversion's local field; default
            0.
    """
    box = box_around(scan.mask)
    local, total, offset, chi, mask, labels, signal = (
        jnp.asarray(cut(np.asarray(v), box))
        for v in (
            scan.local_field, scan.total_field, scan.phase_offset,
            scan.chi, scan.mask, scan.labels, scan.signal,
        )
    )  # fmt: skip
    amplitude = jnp.abs(signal)
    level = jnp.sum(mask * amplitude[..., 0]) / mask.sum()
    sensitivity = protocol.acquisition.phase_per_ppm
    if stage == "unwrapping":
        real, imaginary = level / protocol.snr * jax.random.normal(key, (2, *mask.shape))
        noisy = signal[..., -1] + real + 1j * imaginary
        expected = sensitivity[-1] * total + offset
        wrapped = jnp.angle(noisy)
        given, magnitude = wrapped, jnp.abs(noisy)
        truth = wrapped + TURN * jnp.round((expected - wrapped) / TURN)
    else:
        # The error of a weighted fit of the phase over echoes, whose noise goes with 1 / magnitude.
        precision = jnp.sqrt(jnp.sum((amplitude * sensitivity) ** 2, axis=-1))
        noise = level / protocol.snr / jnp.maximum(precision, 1e-3 * jnp.max(precision))
        part = 1.0 if stage in ("background", "single_step") else residual_background
        given = local + part * (total - local) + noise * jax.random.normal(key, local.shape)
        magnitude = jnp.sqrt(jnp.sum(amplitude**2, axis=-1))
        truth = local if stage == "background" else chi
    return Trial(
        field=given * mask,
        mask=mask,
        magnitude=magnitude * mask,
        geometry=protocol.geometry,
        truth=truth * mask,
        labels=labels,
    )
