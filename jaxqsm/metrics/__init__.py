"""How close a map is to the truth. All take χ (or a field) in ppm and a mask."""

from jaxqsm.metrics.error import correlation, detrended_nrmse, nrmse, slope
from jaxqsm.metrics.region_statistics import RegionStatistics, region_statistics
from jaxqsm.metrics.regions import regional_means, regional_slope
from jaxqsm.metrics.structure import hfen, ssim, xsim
from jaxqsm.metrics.summary import UNITS, summary

__all__ = [
    "UNITS",
    "RegionStatistics",
    "correlation",
    "detrended_nrmse",
    "hfen",
    "nrmse",
    "region_statistics",
    "regional_means",
    "regional_slope",
    "slope",
    "ssim",
    "summary",
    "xsim",
]
