"""``python -m docs``: build the site; any warning is an error."""

import sys
from pathlib import Path

from sphinx.cmd.build import main

HERE = Path(__file__).parent

if __name__ == "__main__":
    sys.exit(main(["-W", "--keep-going", "-q", "-b", "html", str(HERE), str(HERE / "_build")]))
