"""``python -m jaxqsm`` is the ``jaxqsm`` command."""

from jaxqsm.cli import main

main()
