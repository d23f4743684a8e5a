"""Draw the gallery of random heads: ``python -m tools.draw_heads``."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxqsm.phantoms import HeadPhantom, random_head

HEADS, COLUMNS = 12, 6
AGES = np.linspace(8, 85, HEADS)
INK, BACKGROUND = "#d7dde4", "#111418"


def main() -> None:
    rows = 2 * HEADS // COLUMNS
    figure = Figure(figsize=(2.3 * COLUMNS, 2.5 * rows), facecolor=BACKGROUND, layout="constrained")
    axes = figure.subplots(rows, COLUMNS)
    for number, age in enumerate(AGES):
        person = random_head(age=float(age), pathology=0.4, key=jax.random.key(100 + number))
        row, column = 2 * (number // COLUMNS), number % COLUMNS
        axial, coronal = _views(person)
        for offset, plane in enumerate((axial, coronal)):
            panel = axes[row + offset, column]
            panel.imshow(plane, cmap="gray", vmin=-0.15, vmax=0.15, origin="lower")
            panel.set_axis_off()
        axes[row, column].set_title(f"seed {100 + number}, {age:.0f} years", color=INK, fontsize=9)
    figure.savefig(Path(__file__).parents[1] / "docs" / "heads.png", dpi=80, facecolor=BACKGROUND)


def _views(person: HeadPhantom) -> tuple[np.ndarray, np.ndarray]:
    """χ through the putamen: axial, and coronal."""
    chi, origin = np.asarray(person.chi), person.origin
    slices = [round(-origin[2] + 4), round(-origin[1] + 4)]
    return chi[:, :, slices[0]].T, chi[:, slices[1], :].T


if __name__ == "__main__":
    main()
