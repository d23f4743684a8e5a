"""Draw every method on one slice of one simulated scan: ``python -m tools.draw_methods [STAGE …]``.

Each picture in ``docs/pictures/STAGE`` shows the map and its difference from the truth, on one grey scale.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxqsm.evaluation import SWEEPS
from jaxqsm.evaluation.scoring import work_of
from jaxqsm.evaluation.trial import Trial
from jaxqsm.methods import METHODS, Method
from jaxqsm.operators import MaskedVolume
from jaxqsm.variational.common import referenced

HERE = Path(__file__).parents[1] / "docs" / "pictures"
VOXEL_SIZE = 2.0
SNR = 100.0
LIMITS = {
    "unwrapping": 12.0,
    "background": 0.03,
    "inversion": 0.1,
    "single_step": 0.1,
    "uncertainty": 0.1,
}
"""Grey scale: ± so many radians or ppm; of deviations, which have no sign, from zero."""

INK, BACKGROUND = "#d7dde4", "#111418"


def main(stages: list[str]) -> None:
    """Draw all methods of the stages, of all stages where none is named; pictures that exist are kept."""
    for stage in stages or LIMITS:
        trial = SWEEPS["snr"].trial(SNR, VOXEL_SIZE, stage)
        for method in METHODS[stage].values():
            path = HERE / stage / f"{method.name}.png"
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            print(stage, method.name, flush=True)
            panels = _panels(method, trial)
            _draw(panels, (0 if stage == "uncertainty" else -LIMITS[stage], LIMITS[stage]), path)
            jax.clear_caches()


def _panels(method: Method, trial: Trial) -> dict[str, jax.Array]:
    mask = trial.mask
    work, chi = work_of(method, trial)
    if chi is not None:
        error = jnp.abs(referenced(chi, mask) - referenced(trial.truth, mask))
        return {"2 standard deviations": 2 * work(), "absolute error": error}
    found, valid = MaskedVolume.of(work(), mask)
    truth = trial.truth * valid
    if method.stage == "unwrapping":
        turns = jnp.round(jnp.median((found - truth)[valid]) / (2 * jnp.pi))
        found = (found - 2 * jnp.pi * turns) * valid
    elif method.stage != "background":
        found, truth = referenced(found, valid), referenced(truth, valid)
    return {"map": found, "map − truth": found - truth}


def _draw(panels: dict[str, jax.Array], limits: tuple[float, float], path: Path) -> None:
    figure = Figure(figsize=(4.6, 2.9), facecolor=BACKGROUND, layout="constrained")
    axes = figure.subplots(1, len(panels))
    for panel, (title, volume) in zip(axes, panels.items(), strict=True):
        # Through the deep grey matter.
        plane = np.asarray(volume)[:, :, volume.shape[2] // 2 - 4]
        panel.imshow(plane.T, cmap="gray", vmin=limits[0], vmax=limits[1], origin="lower")
        panel.set_title(title, color=INK, fontsize=8)
        panel.set_axis_off()
    figure.savefig(path, dpi=75, facecolor=BACKGROUND)


if __name__ == "__main__":
    main(sys.argv[1:])
