"""Agreement of a map with the truth. All take χ (or a field) in ppm and a mask."""

from jaxqsm.metrics.error import correlation as correlation
from jaxqsm.metrics.error import detrended_nrmse as detrended_nrmse
from jaxqsm.metrics.error import nrmse as nrmse
from jaxqsm.metrics.error import slope as slope
from jaxqsm.metrics.region_statistics import RegionStatistics as RegionStatistics
from jaxqsm.metrics.region_statistics import region_statistics as region_statistics
from jaxqsm.metrics.regions import regional_means as regional_means
from jaxqsm.metrics.regions import regional_slope as regional_slope
from jaxqsm.metrics.structure import hfen as hfen
from jaxqsm.metrics.structure import ssim as ssim
from jaxqsm.metrics.structure import xsim as xsim
from jaxqsm.metrics.summary import UNITS as UNITS
from jaxqsm.metrics.summary import summary as summary
