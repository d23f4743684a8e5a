"""Figures as PNG, drawn without any display."""

from __future__ import annotations

import base64
import io

import nibabel as nib
import numpy as np
from matplotlib.figure import Figure

BACKGROUND, INK, ACCENT = "#111418", "#d7dde4", "#ffb000"


def three_views(
    volume: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    *,
    window: tuple[float, float],
    unit: str,
    colours: str = "gray",
) -> str:
    """Draw an axial, coronal and sagittal slice through the middle of the mask, with its outline.

    Args:
        volume: ``(x, y, z)``.
        mask: outlined; its centre of mass gives the slices.
        affine: turns the views to radiological convention (patient's right on the left side).
        window: values of black and white.
        unit: of the colour bar.
        colours: Matplotlib colour map.

    Returns:
        PNG as a ``data:`` URL.
    """
    image, size = _canonical(volume, affine)
    outline, _ = _canonical(mask, affine)
    centre = [round(float(np.mean(i))) for i in np.nonzero(outline)]
    # (axis cut, letters at left and right, top and bottom); x runs from right to left.
    views = ((2, "RL", "AP"), (1, "RL", "SI"), (0, "AP", "SI"))
    figure = Figure(figsize=(11.5, 4.1), facecolor=BACKGROUND)
    grid = figure.add_gridspec(
        1,
        4,
        width_ratios=[1, 1, 1, 0.04],
        left=0.01,
        right=0.93,
        wspace=0.05,
        top=0.97,
        bottom=0.03,
    )
    for column, (cut, sides, ends) in enumerate(views):
        axes = figure.add_subplot(grid[column], facecolor=BACKGROUND)
        axes.set_axis_off()
        horizontal, vertical = (a for a in range(3) if a != cut)
        plane = np.take(image, centre[cut], axis=cut).T[:, ::-1]
        edge = np.take(outline, centre[cut], axis=cut).T[:, ::-1]
        image_axes = axes.imshow(
            plane,
            cmap=colours,
            vmin=window[0],
            vmax=window[1],
            origin="lower",
            aspect=float(size[vertical] / size[horizontal]),
            interpolation="nearest",
        )
        if edge.any() and not edge.all():
            axes.contour(edge.astype(float), levels=[0.5], colors=ACCENT, linewidths=0.7)
        marks = (
            (0.02, 0.5, sides[0]),
            (0.98, 0.5, sides[1]),
            (0.5, 0.97, ends[0]),
            (0.5, 0.03, ends[1]),
        )
        for x, y, letter in marks:
            axes.text(
                x,
                y,
                letter,
                color=INK,
                fontsize=8,
                ha="center",
                va="center",
                transform=axes.transAxes,
            )
    bar = figure.colorbar(image_axes, cax=figure.add_subplot(grid[3]))
    bar.set_label(unit, color=INK)
    bar.ax.tick_params(colors=INK, labelsize=8)
    return _as_url(figure)


def histogram(values: np.ndarray, *, limits: tuple[float, float], unit: str) -> str:
    """Draw the distribution of values with median and central 90 %; PNG as a ``data:`` URL."""
    figure = Figure(figsize=(11.5, 2.6), facecolor=BACKGROUND)
    axes = figure.add_axes((0.07, 0.2, 0.9, 0.75), facecolor=BACKGROUND)
    axes.hist(np.clip(values, *limits), bins=160, range=limits, color="#6ea8d8")
    low, median, high = np.percentile(values, [5, 50, 95])
    axes.axvspan(low, high, color=INK, alpha=0.12, label=f"5–95 %: {low:.3f} … {high:.3f}")
    axes.axvline(median, color=ACCENT, linewidth=1, label=f"median {median:.4f}")
    axes.set_xlim(*limits)
    axes.set_xlabel(unit, color=INK)
    axes.set_ylabel("voxels", color=INK)
    axes.tick_params(colors=INK, labelsize=8)
    for spine in axes.spines.values():
        spine.set_color("#444b54")
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return _as_url(figure)


def _canonical(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Axes turned (never resampled) nearest to right, front, up; and the voxel size so turned."""
    turned = nib.as_closest_canonical(nib.Nifti1Image(volume.astype(np.float32), affine))
    return np.asarray(turned.dataobj), np.linalg.norm(turned.affine[:3, :3], axis=0)


def _as_url(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor=figure.get_facecolor())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
