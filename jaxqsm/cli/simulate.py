"""jaxqsm simulate: a BIDS dataset with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

import jaxqsm
from jaxqsm.cli import console
from jaxqsm.cli.options import Several
from jaxqsm.io import BidsScan, InputError, direction_from, refuse_existing, staging, write_simulation
from jaxqsm.phantoms import HeadPhantom, head, random_head
from jaxqsm.simulation import Protocol, Scan


def simulate(
    *,
    out: Path,
    phantom: Literal["head", "random"] = "head",
    seed: int = 0,
    subject: str = "1",
    count: int = 1,
    age: float | None = None,
    pathology: float = 0.3,
    voxel_size: tuple[float, float, float] = Protocol.voxel_size,
    b0_dir: tuple[float, float, float] = Protocol.b0_dir,
    echo_times: Annotated[tuple[float, ...], Several] = Protocol.echo_times,
    field_strength: float = Protocol.field_strength,
    snr: float = Protocol.snr,
    oversampling: int | None = None,
    shim_order: int = Protocol.shim_order,
    bipolar: bool = False,
    partial_fourier: float = Protocol.partial_fourier,
    overwrite: bool = False,
) -> None:
    """Simulate multi-echo gradient-echo scans of heads, with their truth, as a BIDS dataset.

    Parameters
    ----------
    out
        Dataset folder to write.
    phantom
        Ground truth: head (16 tissues, one calcification, one haemorrhage), or random (a person who
        is synthetic, another one a seed).
    seed
        Of person, noise and coil phase.
    subject
        Participant label; with --count, the first of consecutive numbers.
    count
        Number of persons, each with its own seed.
    age
        Years, of a random person. Default: drawn.
    pathology
        Probability of each lesion of a random person.
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
    oversampling
        Samples a voxel and axis that the signal is formed at. Default: as many as bring them to 1 mm.
    shim_order
        Harmonics that the shim nulls: 0, 1 or 2.
    bipolar
        Read echoes in alternating directions.
    partial_fourier
        Part of k-space that is measured along Y, 0.5 to 1.
    overwrite
        Replace files of that name in the folder.
    """
    refuse_existing([out], overwrite=overwrite)
    if not all(0 < t < 0.5 for t in echo_times):
        raise InputError(f"--echo-times {echo_times}: seconds between 0 and 0.5 are needed")
    if not 0.1 <= min(voxel_size) <= max(voxel_size) <= 10:
        raise InputError(f"--voxel-size {voxel_size}: mm between 0.1 and 10 are needed")
    direction_from(b0_dir)
    if not snr > 0 or not field_strength > 0:
        raise InputError("--snr and --field-strength must be above zero")
    if shim_order not in (0, 1, 2):
        raise InputError(f"--shim-order {shim_order}: use 0, 1 or 2")
    if not 0.5 <= partial_fourier <= 1:
        raise InputError(f"--partial-fourier {partial_fourier}: between 0.5 and 1 is needed")
    if oversampling is not None and not 1 <= oversampling <= 8:
        raise InputError(f"--oversampling {oversampling}: between 1 and 8 is needed")
    if not 0 <= pathology <= 1:
        raise InputError(f"--pathology {pathology}: a probability between 0 and 1 is needed")
    if age is not None and not 0 < age <= 120:
        raise InputError(f"--age {age}: years between 0 and 120 are needed")
    if count < 1 or (count > 1 and not subject.isdigit()):
        raise InputError("--count must be above zero, and --subject a number when it is above one")
    protocol = Protocol(
        voxel_size,
        b0_dir,
        echo_times,
        field_strength,
        snr,
        oversampling,
        shim_order,
        bipolar,
        partial_fourier,
    )
    with staging(out) as folder:
        for number in range(count):
            label = subject if count == 1 else f"{int(subject) + number:0{len(str(count))}d}"
            if count > 1:
                console.note(f"sub-{label}")
            with console.stage("head phantom") as done:
                ground_truth = done(_phantom(phantom, seed + number, protocol, age, pathology))
            simulate_into(folder, ground_truth, protocol, seed=seed + number, subject=label)
    console.note(f"wrote {out}; the truth is in {out / 'derivatives' / 'truth'}")


def _phantom(name: str, seed: int, protocol: Protocol, age: float | None, pathology: float) -> HeadPhantom:
    size, field_strength = protocol.phantom_voxel_size, protocol.field_strength
    if name == "head":
        return head(size, field_strength=field_strength)
    return random_head(
        size, field_strength=field_strength, age=age, pathology=pathology, key=jax.random.key(seed)
    )


def simulate_into(
    folder: Path,
    phantom: HeadPhantom,
    protocol: Protocol,
    *,
    seed: int,
    subject: str,
    key: PRNGKeyArray | None = None,
) -> tuple[Scan, BidsScan]:
    """Simulate with progress and write one subject's scan into a dataset in an existing folder.

    ``key`` is the random key of noise and coil phase; default that of ``seed``, which sidecars state.
    """
    key = jax.random.key(seed) if key is None else key
    with console.stage("simulated scan") as done:
        scan = done(protocol.scan(phantom, key=key))
    parameters = {
        "SNR": protocol.snr if np.isfinite(protocol.snr) else "inf",
        "Seed": seed,
        "PhantomVoxelSize": list(phantom.voxel_size),
        "ShimOrder": protocol.shim_order,
        "BipolarReadout": protocol.bipolar,
        "PartialFourier": protocol.partial_fourier,
    }
    with console.stage("writing BIDS"):
        files = write_simulation(
            folder,
            scan,
            protocol.geometry,
            protocol.acquisition,
            subject=subject,
            version=jaxqsm.__version__,
            parameters=parameters,
        )
    return scan, files
