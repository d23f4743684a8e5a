"""The ``jaxqsm`` command."""

from jaxqsm.cli.app import main

__all__ = ["main"]
