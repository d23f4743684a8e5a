"""Training: examples, losses, the loop, and what was trained."""

import lazy_loader

# Commands that only name configurations need neither the loop nor its checkpoints.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
