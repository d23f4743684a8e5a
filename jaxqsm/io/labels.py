"""Names of the regions of a label image."""

from __future__ import annotations

import csv
from pathlib import Path

from jaxqsm.io.errors import InputError


def label_names(labels: Path, table: Path | None = None) -> dict[int, str]:
    """Read names by label from a BIDS look-up table (tab-separated, ``index`` and ``name``).

    Args:
        labels: the label image; the table beside it with the ending .tsv is used where there is one.
        table: another table.

    Raises:
        InputError: the given table cannot be read, or has no such columns.
    """
    path = labels.with_name(labels.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")
    if table is not None:
        path = table
    elif not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {int(row["index"]): row["name"] for row in csv.DictReader(file, delimiter="\t")}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: needs tab-separated columns index and name") from error
