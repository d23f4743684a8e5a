"""One scan through the chosen stages: a frozen configuration in, maps and provenance out."""

from jaxqsm.pipeline.box import box_around, cut, put_back
from jaxqsm.pipeline.config import TWO_STAGE, Config
from jaxqsm.pipeline.deviation import deviation_of
from jaxqsm.pipeline.methods import AUTO, COMMANDS, METHODS, Method, Option, find_method
from jaxqsm.pipeline.provenance import versions
from jaxqsm.pipeline.reconstruct import Maps, Stage, reconstruct
from jaxqsm.pipeline.run import Result, reconstruct_scan

__all__ = [
    "AUTO",
    "COMMANDS",
    "METHODS",
    "TWO_STAGE",
    "Config",
    "Maps",
    "Method",
    "Option",
    "Result",
    "Stage",
    "box_around",
    "cut",
    "deviation_of",
    "find_method",
    "put_back",
    "reconstruct",
    "reconstruct_scan",
    "versions",
]
