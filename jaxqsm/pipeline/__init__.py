"""One scan through the chosen stages: a frozen configuration in, maps and provenance out."""

from jaxqsm.pipeline.box import box_around as box_around
from jaxqsm.pipeline.box import cut as cut
from jaxqsm.pipeline.box import put_back as put_back
from jaxqsm.pipeline.config import TWO_STAGE as TWO_STAGE
from jaxqsm.pipeline.config import Config as Config
from jaxqsm.pipeline.convergence import noting as noting
from jaxqsm.pipeline.convergence import unfinished as unfinished
from jaxqsm.pipeline.doubts import why_nothing_is_left as why_nothing_is_left
from jaxqsm.pipeline.plan import Plan as Plan
from jaxqsm.pipeline.plan import Step as Step
from jaxqsm.pipeline.preparation import MaskConfig as MaskConfig
from jaxqsm.pipeline.provenance import versions as versions
from jaxqsm.pipeline.reconstruct import Maps as Maps
from jaxqsm.pipeline.reconstruct import reconstruct as reconstruct
from jaxqsm.pipeline.reconstruct import residual as residual
from jaxqsm.pipeline.run import FieldResult as FieldResult
from jaxqsm.pipeline.run import Result as Result
from jaxqsm.pipeline.run import map_field as map_field
from jaxqsm.pipeline.run import reconstruct_scan as reconstruct_scan
from jaxqsm.pipeline.stage import Stage as Stage
from jaxqsm.pipeline.standard_deviation import standard_deviation_of as standard_deviation_of
from jaxqsm.pipeline.susceptibility import Susceptibility as Susceptibility
from jaxqsm.pipeline.susceptibility import local_field as local_field
from jaxqsm.pipeline.susceptibility import susceptibility as susceptibility
from jaxqsm.pipeline.total_field import FieldMaps as FieldMaps
from jaxqsm.pipeline.total_field import total_field as total_field
