"""All scores of one map at once."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Array, Bool, Float, Integer

from jaxqsm.metrics.error import correlation, detrended_nrmse, nrmse, slope
from jaxqsm.metrics.regions import regional_slope
from jaxqsm.metrics.structure import hfen, ssim, xsim

UNITS = {"nrmse": "%", "detrended_nrmse": "%", "hfen": "%"}
"""Units of the scores that have one."""


def summary(
    image: Float[Array, "x y z"],
    truth: Float[Array, "x y z"],
    mask: Bool[Array, "x y z"],
    labels: Integer[Array, "x y z"] | None = None,
) -> dict[str, float]:
    """Compute every metric of this package; both maps are zero outside the mask, as in QSM-CI.

    Args:
        image: ppm.
        truth: ppm.
        mask: where to score.
        labels: optional segmentation in the QSM-CI scheme, for the regional slope.

    Returns:
        Name to value; ``nrmse``, ``detrended_nrmse`` and ``hfen`` in percent. ``slope`` and
        ``regional_slope`` are 1 when values are right.
    """
    image, truth = image * mask, truth * mask
    metrics: dict[str, Callable[..., Array]] = {
        "nrmse": nrmse,
        "detrended_nrmse": detrended_nrmse,
        "hfen": hfen,
        "xsim": xsim,
        "ssim": ssim,
        "correlation": correlation,
        "slope": slope,
    }
    scores = {name: float(metric(image, truth, mask)) for name, metric in metrics.items()}
    if labels is not None:
        scores["regional_slope"] = float(regional_slope(image, truth, labels, mask))
    return scores
