"""The ``jaxqsm`` command."""

from jaxqsm.cli.app import main as main
