"""Phase unwrapping. Every function takes ``(x, y, z)`` or ``(x, y, z, echo)`` and keeps the shape."""

from jaxqsm.unwrapping.align_echoes import align_echoes as align_echoes
from jaxqsm.unwrapping.best_path import best_path as best_path
from jaxqsm.unwrapping.laplacian import laplacian as laplacian
from jaxqsm.unwrapping.romeo import romeo as romeo
