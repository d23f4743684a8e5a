"""Scan protocol, in one value."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import PRNGKeyArray

from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.phantoms.head import HeadPhantom
from jaxqsm.simulation.scan import Scan, simulate_scan

ANATOMY_DETAIL = 1.0
"""mm; the head's labels are this fine, so that by default the signal is formed on voxels up to this size."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Settings of a simulated multi-echo gradient-echo scan.

    Attributes:
        voxel_size: mm; default 1 mm.
        b0_dir: field direction in head (voxel) axes; default along the third.
        echo_times: s; default 4, 12, 20 and 28 ms.
        field_strength: tesla; default 3.
        snr: mean magnitude in the brain at the first echo over noise; infinite for none. Default 100.
        oversampling: samples a voxel and axis that the signal is formed at; default as many as bring them
            to 1 mm or below.
        shim_order: harmonics that the shim nulls; default 1.
        bipolar: echoes are read in alternating directions; default no.
        partial_fourier: part of k-space measured along the second axis; default 1.
    """

    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0)
    b0_dir: tuple[float, float, float] = (0.0, 0.0, 1.0)
    echo_times: tuple[float, ...] = (0.004, 0.012, 0.020, 0.028)
    field_strength: float = 3.0
    snr: float = 100.0
    oversampling: int | None = None
    shim_order: int = 1
    bipolar: bool = False
    partial_fourier: float = 1.0

    @property
    def phantom_voxel_size(self) -> tuple[float, float, float]:
        """mm; the voxels that the signal is formed on, a whole number to each of the scan's."""
        factors = [self.oversampling or int(np.ceil(v / ANATOMY_DETAIL - 0.01)) for v in self.voxel_size]
        x, y, z = (v / f for v, f in zip(self.voxel_size, factors, strict=True))
        return x, y, z

    @property
    def geometry(self) -> Geometry:
        """Voxel size and field direction."""
        return Geometry(self.voxel_size, self.b0_dir)

    @property
    def acquisition(self) -> Acquisition:
        """Echo times and field strength."""
        return Acquisition(self.echo_times, self.field_strength)

    def scan(self, phantom: HeadPhantom, *, key: PRNGKeyArray) -> Scan:
        """Simulate the scan of a phantom on :attr:`phantom_voxel_size` (:func:`simulate_scan`)."""
        return simulate_scan(
            phantom,
            self.geometry,
            self.acquisition,
            snr=self.snr,
            shim_order=self.shim_order,
            bipolar=self.bipolar,
            partial_fourier=self.partial_fourier,
            key=key,
        )
