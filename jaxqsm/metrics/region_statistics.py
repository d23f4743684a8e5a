"""A map in numbers, region by region."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer


class RegionStatistics(NamedTuple):
    """Statistics of one region, in the unit of the map; ``sd`` is of the sample, ``n`` in voxels."""

    mean: float
    sd: float
    median: float
    n: int


def region_statistics(
    image: Float[np.ndarray, "x y z"], labels: Integer[np.ndarray, "x y z"], mask: Bool[np.ndarray, "x y z"]
) -> dict[int, RegionStatistics]:
    """Compute the statistics of every label but 0 with a voxel in the mask, in ascending order."""
    inside = mask & (labels != 0)
    order = np.argsort(labels[inside], kind="stable")
    present, starts = np.unique(labels[inside][order], return_index=True)
    parts = np.split(image[inside][order].astype(float), starts[1:])
    return {
        int(label): RegionStatistics(
            mean=float(part.mean()),
            sd=float(part.std(ddof=1)) if part.size > 1 else 0.0,
            median=float(np.median(part)),
            n=int(part.size),
        )
        for label, part in zip(present, parts, strict=True)
    }
