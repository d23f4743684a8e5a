"""The evaluation set: one person, eight scans, each unlike the first in one factor."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxqsm.phantoms import HeadPhantom, random_head
from jaxqsm.simulation import Protocol

SEED = 20260701
"""Seed of the subject and the noise; no training stream uses this key (:func:`evaluation_key`)."""

AGE = 50.0
"""Years, of the person."""

HEALTHY, DISEASED = 0.0, 0.8
"""Probability of each lesion."""

REFERENCE = Protocol(oversampling=2)


def evaluation_key(number: int) -> PRNGKeyArray:
    """Make a key that no training stream uses: a branch of its own of the seed's."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(SEED), 0x7E57), number)


@dataclasses.dataclass(frozen=True)
class EvaluationScan:
    """One scan of the set.

    Attributes:
        name: also its participant label.
        factor: in words, how it differs from the reference.
        protocol: how it is taken.
        pathology: probability of each lesion.
    """

    name: str
    factor: str
    protocol: Protocol
    pathology: float = HEALTHY

    def phantom(self) -> HeadPhantom:
        """Make the subject, the same for all scans of the set but for lesions and field strength."""
        return random_head(
            self.protocol.phantom_voxel_size,
            field_strength=self.protocol.field_strength,
            age=AGE,
            pathology=self.pathology,
            key=evaluation_key(0),
        )

    @property
    def key(self) -> PRNGKeyArray:
        """Random key of noise and coil phase."""
        return evaluation_key(1 + EVALUATION_SCANS.index(self))


def tilted(degrees: float) -> tuple[float, float, float]:
    """Rotate the field direction by an angle about the first axis of the head."""
    angle = np.deg2rad(degrees)
    return (0.0, float(np.sin(angle)), float(np.cos(angle)))


EVALUATION_SCANS = (
    EvaluationScan("reference", "3 T, 1 mm, axial, SNR 100, healthy", REFERENCE),
    EvaluationScan("tilted", "oblique by 30°", dataclasses.replace(REFERENCE, b0_dir=tilted(30))),
    EvaluationScan(
        "anisotropic",
        "voxels of 1 × 1 × 2 mm",
        dataclasses.replace(REFERENCE, voxel_size=(1.0, 1.0, 2.0)),
    ),
    EvaluationScan(
        "fine",
        "voxels of 0.7 mm",
        # Formed on its own voxels: finer ones would not fit the memory of a common machine.
        dataclasses.replace(REFERENCE, voxel_size=(0.7, 0.7, 0.7), oversampling=1),
    ),
    EvaluationScan("7t", "7 T, same echo times", dataclasses.replace(REFERENCE, field_strength=7.0)),
    EvaluationScan("noisy", "SNR 30", dataclasses.replace(REFERENCE, snr=30.0)),
    EvaluationScan("lesions", "bleeds, calcifications, tumour, metal at the teeth", REFERENCE, DISEASED),
    EvaluationScan(
        "hasty",
        "bipolar readout, partial Fourier 6/8",
        dataclasses.replace(REFERENCE, bipolar=True, partial_fourier=0.75),
    ),
)
"""Eight scans, the first the reference, each other different from it in one factor."""
