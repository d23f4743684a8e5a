"""The pitfalls of learned QSM as sweeps: one factor varies, all else stays as in the reference.

The factors are those by which Jung, Bollmann & Lee 2022, NMR Biomed 35:e4292, doi:10.1002/nbm.4292, find
that networks fail where they were not trained.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from jaxqsm.evaluation.scans import AGE, HEALTHY, evaluation_key, tilted
from jaxqsm.evaluation.scoring import SCORES
from jaxqsm.evaluation.trial import Trial, make_trial
from jaxqsm.geometry import Geometry
from jaxqsm.operators import erode
from jaxqsm.phantoms import HeadPhantom, random_head
from jaxqsm.phantoms.bodies import Bodies, paint
from jaxqsm.phantoms.pathology import R2STAR_PER_CHI
from jaxqsm.simulation import Protocol

LESION_PLACE = (0.27, 0.6, 0.62)
"""Position of the lesion as parts of the brain's box: frontal white matter of one side."""

LESION_RADIUS = 6.0
"""mm."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One factor and the levels it takes.

    Attributes:
        name: on the command line.
        label: with its unit, for axes and tables.
        levels: values, the reference's among them where it has one.
        reference: the level of the reference scan.
        logarithmic: whether an axis shows it so.
        trial: makes the trial of a level, given the reference voxel size in mm and the stage.
        stages: that it says something of.
    """

    name: str
    label: str
    levels: tuple[float, ...]
    reference: float
    trial: Callable[[float, float, str], Trial]
    logarithmic: bool = False
    stages: tuple[str, ...] = tuple(SCORES)

    def few(self) -> Sweep:
        """Keep the ends and the reference of the sweep alone."""
        kept = sorted({self.levels[0], self.reference, self.levels[-1]})
        return dataclasses.replace(self, levels=tuple(kept))


@functools.lru_cache(maxsize=1)
def _person(voxel_size: tuple[float, float, float], contrast: float, texture: float) -> HeadPhantom:
    return random_head(
        voxel_size, age=AGE, pathology=HEALTHY, contrast=contrast, texture=texture, key=evaluation_key(0)
    )


def _trial(
    protocol: Protocol,
    stage: str,
    *,
    contrast: float = 1.0,
    texture: float = 1.0,
    residual_background: float = 0.0,
    change: Callable[[HeadPhantom], HeadPhantom] = lambda phantom: phantom,
) -> Trial:
    phantom = change(_person(protocol.phantom_voxel_size, contrast, texture))
    clean = dataclasses.replace(protocol, snr=float("inf"))
    scan = clean.scan(phantom, key=evaluation_key(100))
    return make_trial(
        scan, protocol, stage=stage, residual_background=residual_background, key=evaluation_key(101)
    )


def _cube(size: float, **others: object) -> Protocol:
    return dataclasses.replace(Protocol(voxel_size=(size, size, size)), **others)  # type: ignore[arg-type]


def _tilt(degrees: float, size: float, stage: str) -> Trial:
    return _trial(_cube(size, b0_dir=tilted(degrees)), stage)


def _eroded(radius: float, size: float, stage: str) -> Trial:
    def change(phantom: HeadPhantom) -> HeadPhantom:
        if radius == 0:
            return phantom
        smaller = erode(jnp.asarray(phantom.mask), radius, Geometry(phantom.voxel_size))
        return dataclasses.replace(phantom, mask=np.asarray(smaller))

    return _trial(_cube(size), stage, change=change)


def _lesion(chi: float, size: float, stage: str) -> Trial:
    def change(phantom: HeadPhantom) -> HeadPhantom:
        if chi == 0:
            return phantom
        inside = np.argwhere(phantom.mask)
        low, high = inside.min(axis=0), inside.max(axis=0)
        voxel_size, origin = jnp.array(phantom.voxel_size), jnp.array(phantom.origin)
        centre = origin + voxel_size * (low + np.array(LESION_PLACE) * (high - low))
        body = Bodies(
            start=centre[None],
            end=centre[None],
            radii=jnp.full((1, 3), LESION_RADIUS),
            lumpiness=jnp.full(1, 0.25),
            values=jnp.array([[chi, 0.7, 1.2, 30 + R2STAR_PER_CHI * abs(chi)]]),
            within=jnp.ones(1),
            strength=jnp.ones(1),
        )
        brain = jnp.asarray(phantom.mask, float)
        maps = jnp.stack([phantom.chi, phantom.proton_density, phantom.t1, phantom.r2star, brain])
        box = [int(np.ceil(4 * LESION_RADIUS / v)) for v in phantom.voxel_size]
        new_chi, density, t1, r2star, _ = paint(maps, body, origin, voxel_size, box=box)
        return dataclasses.replace(phantom, chi=new_chi, proton_density=density, t1=t1, r2star=r2star)

    return _trial(_cube(size), stage, change=change)


SWEEPS: dict[str, Sweep] = {
    sweep.name: sweep
    for sweep in (
        Sweep(
            "chi_scale", "χ times", (0.25, 0.5, 1.0, 2.0, 4.0), 1.0,
            lambda level, size, stage: _trial(_cube(size), stage, contrast=level), logarithmic=True,
        ),
        Sweep(
            "texture", "texture within tissues times", (0.0, 1.0, 2.0, 4.0), 1.0,
            lambda level, size, stage: _trial(_cube(size), stage, texture=level),
            stages=("inversion", "single_step", "uncertainty"),
        ),
        Sweep(
            "voxel_size", "voxel size in mm", (0.5, 0.7, 1.0, 1.4, 2.0), 1.0,
            lambda level, size, stage: _trial(_cube(level), stage),
        ),
        Sweep(
            "anisotropy", "slice thickness over voxel width", (1.0, 1.5, 2.0, 3.0), 1.0,
            lambda level, size, stage: _trial(Protocol(voxel_size=(size, size, level * size)), stage),
        ),
        Sweep("tilt", "tilt in degrees", (0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0), 0.0, _tilt),
        Sweep(
            "snr", "SNR", (15.0, 30.0, 60.0, 100.0, 200.0), 100.0,
            lambda level, size, stage: _trial(_cube(size, snr=level), stage), logarithmic=True,
        ),
        Sweep(
            "residual_background", "part of the background field left in", (0.0, 0.01, 0.02, 0.05, 0.1), 0.0,
            lambda level, size, stage: _trial(_cube(size), stage, residual_background=level),
            stages=("inversion", "uncertainty"),
        ),
        Sweep("erosion", "mask eroded by, mm", (0.0, 2.0, 4.0, 6.0, 8.0), 0.0, _eroded),
        Sweep("lesion", "χ of a 12 mm lesion in ppm", (-1.5, -0.75, 0.0, 0.5, 1.0, 1.5), 0.0, _lesion),
    )
}  # fmt: skip
"""All sweeps by name."""
