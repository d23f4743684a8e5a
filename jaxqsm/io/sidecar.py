"""JSON sidecars: one place that knows what each field must be."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxqsm.io.errors import InputError

DEEPEST = 100
"""Nested brackets: JSON of more is no sidecar, and would exhaust the parser."""


@dataclasses.dataclass(frozen=True)
class Sidecar:
    """Metadata of an image from the JSON files that belong to it.

    Attributes:
        entries: value by name; of several files the nearest to the image counts.
        files: file of each entry, for messages.
    """

    entries: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    files: Mapping[str, Path] = dataclasses.field(default_factory=dict)

    def number(self, name: str) -> float | None:
        """Read a finite number, also one written as text; None if there is none.

        Raises:
            InputError: the entry is something else.
        """
        value = self.entries.get(name)
        return None if value is None else self._number(name, value)

    def numbers(self, name: str) -> list[float]:
        """Read one number or a list of numbers; empty if there is none.

        Raises:
            InputError: the entry is something else.
        """
        value = self.entries.get(name)
        if value is None:
            return []
        return [self._number(name, v) for v in (value if isinstance(value, list) else [value])]

    def text(self, name: str) -> str | None:
        """Read text; None if there is none.

        Raises:
            InputError: the entry is something else.
        """
        value = self.entries.get(name)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "text")
        return value

    def words(self, name: str) -> list[str]:
        """Read words in upper case, from a list or backslash-separated text; empty if there are none."""
        value = self.entries.get(name)
        if isinstance(value, str):
            value = value.split("\\")
        return [str(word).upper() for word in value] if isinstance(value, list) else []

    def says_it_is(self) -> str | None:
        """Read the part that ``ImageType`` names: phase, magnitude, real or imaginary; else None."""
        kinds = {
            "phase": {"P", "PHASE", "PHASE MAP"},
            "magnitude": {"M", "MAGNITUDE", "M_FFE"},
            "real": {"R", "REAL"},
            "imaginary": {"I", "IMAGINARY"},
        }
        words = set(self.words("ImageType"))
        found = [kind for kind, names in kinds.items() if words & names]
        return found[0] if len(found) == 1 else None

    def _number(self, name: str, value: Any) -> float:
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise self._wrong(name, "a number") from None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, "a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._wrong(name, "a finite number")
        return number

    def _wrong(self, name: str, needed: str) -> InputError:
        shown = repr(self.entries[name])
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return InputError(f"{self.files[name]}: {name} is {shown}, but {needed} is needed; repair this entry")


def sidecar_of(image: Path, dataset: Path | None = None) -> Sidecar:
    """Read the JSON beside an image; in a BIDS dataset, with the inherited ones.

    Args:
        image: the NIfTI file.
        dataset: root of the BIDS dataset that it belongs to. A JSON file applies to the images at its level
            and below whose suffix is its own and whose entities hold all of its own; the nearer one, then
            the one of more entities, wins. Default: only the file of the same name.

    Raises:
        InputError: a file that is no JSON object.

    References:
        BIDS specification, The Inheritance Principle.
    """
    beside = image.with_name(stem_of(image) + ".json")
    found = [beside] if beside.is_file() else []
    if dataset is not None:
        found = _inherited(image, dataset)
    entries: dict[str, Any] = {}
    files: dict[str, Path] = {}
    for path in found:
        content = read_json(path)
        entries |= content
        files |= dict.fromkeys(content, path)
    return Sidecar(entries, files)


def read_json(path: Path) -> dict[str, Any]:
    """Read the object that a JSON file holds.

    Raises:
        InputError: unreadable, no JSON, or no object.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if max((len(run) for run in re.findall(r"[\[{]+", text)), default=0) > DEEPEST:
            raise ValueError("too many nested brackets")
        content = json.loads(text)
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path}: is not valid JSON ({error}); repair or remove it") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no JSON object; repair or remove it")
    return content


def stem_of(image: Path) -> str:
    """Name of a NIfTI file without its ending."""
    return image.name.removesuffix(".gz").removesuffix(".nii")


def _inherited(image: Path, dataset: Path) -> list[Path]:
    """Files that apply, the farthest first."""
    *entities, suffix = stem_of(image).split("_")
    folders = [dataset]
    for part in image.parent.relative_to(dataset).parts:
        folders.append(folders[-1] / part)
    found = []
    for folder in folders:
        here = []
        for path in sorted(folder.glob(f"*{_escaped(suffix)}.json")):
            *own, last = path.name.removesuffix(".json").split("_")
            if last == suffix and set(own) <= set(entities):
                here.append((len(own), path))
        found += [path for _, path in sorted(here)]
    return found


def _escaped(text: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", text)
