"""Files in and out, and the only place where units are converted."""

import lazy_loader

# An error in one line needs none of the readers.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
