"""A small multi-echo scan on disk, which tests store in the ways that scanners and people do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from helpers import ball

from jaxqsm.io import ScanData, load_scan

GAMMA = 42.577478518


@dataclasses.dataclass(frozen=True)
class SmallScan:
    """Three balls in a ball, signal with noise in and around it; arrays ``(x, y, z, echo)``.

    Attributes:
        signal: complex.
        mask: of the object.
        echo_times: seconds.
        voxel_size: mm.
    """

    signal: np.ndarray
    mask: np.ndarray
    echo_times: tuple[float, ...]
    voxel_size: tuple[float, float, float] = (3.0, 3.0, 3.0)

    @property
    def phase(self) -> np.ndarray:
        return np.angle(self.signal).astype(np.float32)

    @property
    def magnitude(self) -> np.ndarray:
        return np.abs(self.signal).astype(np.float32)

    @property
    def affine(self) -> np.ndarray:
        return np.diag([*self.voxel_size, 1.0])

    def shifted(self, hertz: float = 0.0, phase: float | np.ndarray = 0.0) -> SmallScan:
        """With a constant frequency and a phase common to all echoes, as the receiver adds them."""
        turns = hertz * np.asarray(self.echo_times)
        added = np.exp(2j * np.pi * turns + 1j * np.asarray(phase)[..., None])
        return dataclasses.replace(self, signal=self.signal * added)


def small_scan(
    shape=(28, 26, 24), echo_times=(0.004, 0.008, 0.012), *, noise: float = 0.01, seed: int = 0
) -> SmallScan:
    """At 3 T, B0 along the third axis; χ of 0.2, 0.1 and −0.15 ppm."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape) - np.reshape([n // 2 for n in shape], (3, 1, 1, 1))
    mask = ball(shape, 10)
    chi = np.zeros(shape)
    for centre, radius, value in (((4, 3, 0), 3, 0.2), ((-4, 2, 2), 3, 0.1), ((0, -5, -2), 2.5, -0.15)):
        chi[((grid - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(0) < radius**2] += value
    k = np.stack(np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij"))
    kernel = 1 / 3 - k[2] ** 2 / np.maximum((k**2).sum(0), 1e-12)
    kernel[0, 0, 0] = 0
    field = np.fft.ifftn(np.fft.fftn(chi) * kernel).real
    turns = GAMMA * 3 * field[..., None] * np.asarray(echo_times)
    signal = (mask * (1 + chi))[..., None] * np.exp(-30 * np.asarray(echo_times) + 2j * np.pi * turns)
    thermal = rng.standard_normal((2, *signal.shape))
    return SmallScan(signal + noise * (thermal[0] + 1j * thermal[1]), mask, tuple(echo_times))


def save_nifti(path: Path, data: np.ndarray, affine: np.ndarray, **metadata: object) -> Path:
    """Write an image with scanner coordinates, and its sidecar where there is metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, code=1)
    nib.save(image, path)
    if metadata:
        path.with_name(path.name.split(".nii")[0] + ".json").write_text(json.dumps(metadata))
    return path


def write_echoes(folder: Path, scan: SmallScan, **metadata: object) -> tuple[list[Path], list[Path]]:
    """One file an echo and part, with sidecars; phase and magnitude files."""
    files: tuple[list[Path], list[Path]] = ([], [])
    for echo, time in enumerate(scan.echo_times):
        for part, data, paths in (("ph", scan.phase, files[0]), ("mag", scan.magnitude, files[1])):
            entries = {"EchoTime": time, "MagneticFieldStrength": 3} | metadata
            path = folder / f"{part}_e{echo + 1}.nii"
            paths.append(save_nifti(path, data[..., echo], scan.affine, **entries))
    return files


def write_whole(
    folder: Path, scan: SmallScan, *, name: str = "scan", given_mask: bool = True
) -> Mapping[str, object]:
    """One 4-D file a part and the mask; arguments for ``load_scan``."""
    files = {
        "phase": [save_nifti(folder / f"{name}_ph.nii", scan.phase, scan.affine)],
        "magnitude": [save_nifti(folder / f"{name}_mag.nii", scan.magnitude, scan.affine)],
        "echo_times": scan.echo_times,
        "field_strength": 3.0,
    }
    if given_mask:
        files["mask"] = save_nifti(folder / f"{name}_mask.nii", scan.mask.astype(np.uint8), scan.affine)
    return files


def read(folder: Path, scan: SmallScan, **options: object) -> ScanData:
    """The scan through files."""
    return load_scan(**(write_whole(folder, scan) | options))
