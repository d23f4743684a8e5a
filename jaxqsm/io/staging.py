"""Outputs appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxqsm.io.errors import InputError


def refuse_existing(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Call before any work, so that nobody waits for a result that may not be written.

    Raises:
        InputError: one of ``paths`` exists (a folder: is not empty) and ``overwrite`` is false.
    """
    if overwrite:
        return
    for path in paths:
        try:
            exists = path.is_file() or (path.is_dir() and any(path.iterdir()))
        except OSError as error:
            raise InputError(
                f"{path}: cannot be reached ({error.strerror}); check permissions, or choose another --out"
            ) from error
        if exists:
            raise InputError(f"{path}: exists already; choose another --out or pass --overwrite")


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Make a temporary folder whose files move into ``folder`` when the block ends without an error.

    It lies on the same file system, so each move is atomic; files of other names in ``folder`` stay.

    Raises:
        InputError: the folder cannot be written (permissions, disk full …).
    """
    folder = Path(os.path.abspath(folder))
    anchor = folder
    while not anchor.exists():
        anchor = anchor.parent
    partial: Path | None = None
    try:
        partial = Path(tempfile.mkdtemp(prefix=".jaxqsm-partial-", dir=anchor))
        yield partial
        for source in sorted(p for p in partial.rglob("*") if p.is_file()):
            target = folder / source.relative_to(partial)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}); "
            "check its permissions and free space, or choose another --out"
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
