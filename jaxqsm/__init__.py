"""jaxqsm: differentiable quantitative susceptibility mapping in JAX."""

from jaxqsm import (
    background,
    field_mapping,
    inversion,
    io,
    masking,
    metrics,
    operators,
    phantoms,
    physics,
    pipeline,
    relaxometry,
    separation,
    solvers,
    unwrapping,
    weighting,
)
from jaxqsm.geometry import Acquisition, Geometry

__all__ = [
    "Acquisition",
    "Geometry",
    "background",
    "field_mapping",
    "inversion",
    "io",
    "masking",
    "metrics",
    "operators",
    "phantoms",
    "physics",
    "pipeline",
    "relaxometry",
    "separation",
    "solvers",
    "unwrapping",
    "weighting",
]
__version__ = "0.1.0"
