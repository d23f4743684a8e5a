"""jaxqsm: differentiable quantitative susceptibility mapping in JAX."""

import lazy_loader

# Rooms are imported when they are entered, so the command answers at once; the .pyi beside names them.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
