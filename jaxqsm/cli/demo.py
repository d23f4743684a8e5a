"""jaxqsm demo: the whole path on a simulated head, scored."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxqsm import metrics
from jaxqsm.cli import console
from jaxqsm.cli.run import told, write_maps
from jaxqsm.cli.simulate import simulate_into
from jaxqsm.geometry import Geometry
from jaxqsm.io import load_scan, refuse_existing, save_json, staging
from jaxqsm.methods import Method, find_method
from jaxqsm.operators import erode
from jaxqsm.phantoms import head
from jaxqsm.pipeline import (
    Config,
    Maps,
    MaskConfig,
    box_around,
    cut,
    reconstruct_scan,
)
from jaxqsm.report import write_report
from jaxqsm.simulation import Protocol, Scan

EROSION = 2.0
"""mm taken off the true brain mask before scoring: background removal cannot serve its rim."""


def demo(*, out: Path, seed: int = 0, voxel_size: float = 1.0, overwrite: bool = False) -> None:
    """Simulate a head scan at 3 T, reconstruct it from its files, score it, write the report.

    Parameters
    ----------
    out
        Folder for the simulated BIDS dataset, maps, metrics.json and report.html.
    seed
        Of noise and coil phase.
    voxel_size
        Isotropic, mm; 2 is quick.
    overwrite
        Replace results that are in the folder.
    """
    refuse_existing([out], overwrite=overwrite)
    with staging(out) as partial:
        protocol = Protocol(voxel_size=(voxel_size,) * 3)
        with console.stage("head phantom") as done:
            phantom = done(head(protocol.phantom_voxel_size))
        simulated, files = simulate_into(partial, phantom, protocol, seed=seed, subject="demo")
        scan = load_scan(files.phase, files.magnitude)
        # Provenance names the files where they will be when this block ends.
        scan = dataclasses.replace(scan, files=tuple(out / f.relative_to(partial) for f in scan.files))
        result = told(reconstruct_scan, scan, Config(), MaskConfig())
        write_maps(partial, scan, result)
        whole = _end_to_end(result.maps, simulated, scan.geometry)
        alone = {
            name: _inversion_alone(find_method("inversion", name), simulated, scan.geometry)
            for name in ("tv", "tkd")
        }
        save_json(partial / "metrics.json", {"end_to_end": whole, "inversion_alone": alone})
        shown = {name: f"{value:.3f} {metrics.UNITS.get(name, '')}" for name, value in whole.items()}
        for name, values in alone.items():
            shown[f"nrmse, {name} of the true local field"] = f"{values['nrmse']:.3f} %"
        with console.stage("report"):
            write_report(
                partial / "report.html",
                scan,
                result,
                title="jaxqsm demo: simulated head",
                scores=shown,
            )
    console.note(
        f"χ against truth: correlation {whole['correlation']:.3f}, detrended NRMSE "
        f"{whole['detrended_nrmse']:.1f} %"
    )
    console.note(f"wrote {out}: open {out / 'report.html'}")


def _end_to_end(maps: Maps[np.ndarray], scan: Scan, geometry: Geometry) -> dict[str, float]:
    inside = np.asarray(erode(jnp.asarray(scan.mask), EROSION, geometry)) & maps.mask
    return metrics.summary(jnp.asarray(maps.chi), scan.chi, jnp.asarray(inside), jnp.asarray(scan.labels))


def _inversion_alone(method: Method, scan: Scan, geometry: Geometry) -> dict[str, float]:
    box = box_around(scan.mask)
    local, truth, mask, labels = (
        jnp.asarray(cut(np.asarray(v), box)) for v in (scan.local_field, scan.chi, scan.mask, scan.labels)
    )
    with console.stage(f"{method.name} of the true local field") as done:
        chi = done(method.function(local, mask, geometry))
    return metrics.summary(chi, truth, mask, labels)
