"""Phase unwrapping. Every function takes ``(x, y, z)`` or ``(x, y, z, echo)`` and keeps the shape."""

from jaxqsm.unwrapping.align_echoes import align_echoes
from jaxqsm.unwrapping.best_path import best_path
from jaxqsm.unwrapping.laplacian import laplacian
from jaxqsm.unwrapping.romeo import romeo

__all__ = ["align_echoes", "best_path", "laplacian", "romeo"]
