"""One scan through the chosen stages: a frozen configuration in, maps and provenance out."""

from jaxqsm.pipeline.box import box_around, cut, put_back
from jaxqsm.pipeline.config import TWO_STAGE, Config
from jaxqsm.pipeline.deviation import deviation_of
from jaxqsm.pipeline.doubts import why_nothing_is_left
from jaxqsm.pipeline.methods import AUTO, COMMANDS, METHODS, Method, Option, find_method
from jaxqsm.pipeline.preparation import MaskConfig
from jaxqsm.pipeline.provenance import versions
from jaxqsm.pipeline.reconstruct import FieldMaps, Maps, Stage, reconstruct, total_field
from jaxqsm.pipeline.run import FieldResult, Result, map_field, reconstruct_scan

__all__ = [
    "AUTO",
    "COMMANDS",
    "METHODS",
    "TWO_STAGE",
    "Config",
    "FieldMaps",
    "FieldResult",
    "Maps",
    "MaskConfig",
    "Method",
    "Option",
    "Result",
    "Stage",
    "box_around",
    "cut",
    "deviation_of",
    "find_method",
    "map_field",
    "put_back",
    "reconstruct",
    "reconstruct_scan",
    "total_field",
    "versions",
    "why_nothing_is_left",
]
