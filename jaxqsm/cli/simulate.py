"""jaxqsm simulate: a BIDS dataset with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import jax
import numpy as np

import jaxqsm
from jaxqsm.cli import console
from jaxqsm.cli.options import Overwrite, Several
from jaxqsm.geometry import Acquisition, Geometry
from jaxqsm.io import BidsScan, InputError, refuse_existing, staging, write_simulation
from jaxqsm.phantoms import HeadPhantom, Scan, head, simulate_scan

ECHO_TIMES = (0.004, 0.012, 0.020, 0.028)


def simulate(
    *,
    out: Path,
    phantom: Literal["head"] = "head",
    seed: int = 0,
    subject: str = "1",
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0),
    b0_dir: tuple[float, float, float] = (0.0, 0.0, 1.0),
    echo_times: Annotated[tuple[float, ...], Several] = ECHO_TIMES,
    field_strength: float = 3.0,
    snr: float = 100.0,
    overwrite: Overwrite = False,
) -> None:
    """Simulated multi-echo gradient-echo scan of a head, with its truth, as a BIDS dataset.

    Parameters
    ----------
    out
        Dataset folder to write.
    phantom
        Ground truth: head (16 tissues, one calcification, one haemorrhage).
    seed
        Of noise and coil phase.
    subject
        Participant label.
    voxel_size
        mm, X Y Z.
    b0_dir
        Field direction in head (voxel) axes, X Y Z: a tilted head.
    echo_times
        Seconds.
    field_strength
        Tesla.
    snr
        Mean magnitude in the brain at the first echo over noise; inf for none.
    overwrite
        Replace files of that name in the folder.
    """
    del phantom  # one choice so far
    refuse_existing([out], overwrite=overwrite)
    if not all(0 < t < 0.5 for t in echo_times):
        raise InputError(f"--echo-times {echo_times}: seconds between 0 and 0.5 are needed")
    if not 0.1 <= min(voxel_size) <= max(voxel_size) <= 10:
        raise InputError(f"--voxel-size {voxel_size}: mm between 0.1 and 10 are needed")
    if not np.any(b0_dir):
        raise InputError("--b0-dir: one of the three numbers must not be zero")
    if not snr > 0 or not field_strength > 0:
        raise InputError("--snr and --field-strength must be above zero")
    with staging(out) as partial:
        simulate_into(
            partial,
            seed=seed,
            subject=subject,
            voxel_size=voxel_size,
            b0_dir=b0_dir,
            echo_times=echo_times,
            field_strength=field_strength,
            snr=snr,
        )
    console.note(f"wrote {out}; the truth is in {out / 'derivatives' / 'truth'}")


def simulate_into(
    folder: Path,
    *,
    seed: int,
    subject: str,
    voxel_size: tuple[float, float, float],
    b0_dir: tuple[float, float, float],
    echo_times: tuple[float, ...],
    field_strength: float,
    snr: float,
) -> tuple[HeadPhantom, Scan, BidsScan]:
    """Simulate with progress and write the dataset into an existing folder."""
    geometry = Geometry(voxel_size, b0_dir)
    acquisition = Acquisition(echo_times, field_strength)
    phantom = console.stage("head phantom", lambda: head(voxel_size, field_strength=field_strength))
    scan = console.stage(
        "simulated scan",
        lambda: simulate_scan(jax.random.key(seed), phantom, geometry, acquisition, snr=snr),
    )
    parameters = {"SNR": snr if np.isfinite(snr) else "inf", "Seed": seed}
    files = console.stage(
        "writing BIDS",
        lambda: write_simulation(
            folder,
            phantom,
            scan,
            geometry,
            acquisition,
            subject=subject,
            version=jaxqsm.__version__,
            parameters=parameters,
        ),
    )
    return phantom, scan, files
