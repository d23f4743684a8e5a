"""Options that name one of a registry's entries: their help and their defaults are read from there."""

from __future__ import annotations

from collections.abc import Iterable

from cyclopts import Parameter

from jaxqsm.learning import CONFIGS, CONVERTIBLE
from jaxqsm.methods import METHODS


def default_of(stage: str) -> str:
    """Name of the default method of a stage."""
    return next(iter(METHODS[stage]))


def method_of(*stages: str, says: str = "Method", others: Iterable[str] = ()) -> Parameter:
    """Describe an option that names a method of a stage, or of one of several, or one of ``others``."""
    names = [name for stage in stages for name in METHODS[stage]] + list(others)
    return Parameter(help=f"{says}: {', '.join(names)}. See jaxqsm methods.")


def configuration() -> Parameter:
    """Describe an argument that is a training configuration."""
    names = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.toml")))
    return Parameter(help=f"A TOML file, or the name of a configuration that comes with jaxqsm: {names}.")


def convertible() -> Parameter:
    """Describe an option that names a network whose published weights can be read."""
    return Parameter(help=f"Of which the weights are: {', '.join(CONVERTIBLE)}.")
