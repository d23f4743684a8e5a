"""Names of methods, for configuration and command line; their options come from their signatures."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from jaxqsm import (
    background,
    field_mapping,
    fitting,
    inversion,
    masking,
    multi_stage,
    pretrained,
    relaxometry,
    separation,
    single_step,
    tuning,
    uncertainty,
    unwrapping,
    weighting,
)
from jaxqsm.geometry import Geometry

AUTO = "auto"
"""Word of a person for a weight that is found from the data, which is None, its default."""

NOT_OPTIONS = frozenset(
    {
        "magnitude",
        "magnitudes",
        "echo_times",
        "relaxivity",
        "csf_mask",
        "weights",
        "acquisition",
        "least_reliability",
        "start",
        "key",
        "affine",
        "network",
        "denoiser",
    }
)
"""Keyword arguments that the pipeline fills from the scan or that only Python can give; not options of a
person."""

LENGTHS = {
    "radius": 1,
    "radii": 1,
    "smv_radius": 1,
    "standard_deviations": 1,
    "smoothing": 1,
    "coarse": 1,
    "neck": 1,
    "ratio": 1,
    "weight": 1,
    "first_weight": 1,
    "strong_weight": 1,
    "erosion": 1,
    "wh_qsm.harmonic_weight": 4,
    "nltv.huber_threshold": -1,
    "tikhonov.weight": 2,
    "resharp.weight": 0,
    "residual_resharp.weight": 0,
}
"""Power of mm in the unit of options, by name or by method and name; those of others have none."""


@dataclasses.dataclass(frozen=True)
class Option:
    """One keyword option of a method: its name, default and type (that of the default).

    One whose default is None is a number, which the method finds where none is given; by
    :func:`jaxqsm.tuning.choose_weight` where ``automatic``. Its unit goes with the ``power`` of a length: 1
    for mm and ppm · mm.
    """

    name: str
    default: Any
    automatic: bool = False
    power: int = 0

    @property
    def shown(self) -> str:
        """The default as a person writes it."""
        return AUTO if self.automatic else str(self.default)

    def times(self, value: Any, scale: float) -> Any:
        """Scale a value to an object whose lengths are ``scale`` times as long."""
        if self.power == 0 or value is None or isinstance(value, str):
            return value
        factor = scale**self.power
        return tuple(v * factor for v in value) if isinstance(value, tuple) else value * factor

    def parse(self, text: str) -> Any:
        """Parse the value of the option from text such as ``0.001``, ``true`` or ``[8, 4, 2]``.

        Raises:
            ValueError: the text does not fit the type of the default.
        """
        if self.automatic and text == AUTO:
            return None
        if isinstance(self.default, bool):
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
            raise ValueError(f"{self.name} needs true or false, got {text!r}")
        if isinstance(self.default, str):
            return text
        kind = float if self.default is None else type(self.default)
        try:
            value = ast.literal_eval(text)
            if isinstance(self.default, tuple):
                return tuple(float(v) for v in value)
            converted = kind(value)
            if converted != value:
                raise ValueError
        except (ValueError, TypeError, SyntaxError):
            needed = {int: "a whole number", float: "a number", tuple: "a list of numbers"}
            raise ValueError(f"{self.name} needs {needed[kind]}, got {text!r}") from None
        return converted


@dataclasses.dataclass(frozen=True)
class Method:
    """One method of one stage."""

    stage: str
    name: str
    function: Callable[..., Any]

    @property
    def path(self) -> str:
        """Import path, such as ``jaxqsm.inversion.tv``."""
        return ".".join([*self.function.__module__.split(".")[:2], self.name])

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return _plain(inspect.getdoc(self.function).splitlines()[0])  # type: ignore[union-attr]

    @property
    def source(self) -> str:
        """The references of the docstring, on one line."""
        text = inspect.getdoc(self.function) or ""
        block = text.partition("References:")[2].partition("\n\n")[0]
        return _plain(" ".join(block.split()))

    @property
    def options(self) -> tuple[Option, ...]:
        """Keyword options with their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        return tuple(
            Option(
                p.name,
                p.default,
                automatic=p.name == "weight" and self.typical_weight is not None,
                power=LENGTHS.get(f"{self.name}.{p.name}", LENGTHS.get(p.name, 0)),
            )
            for p in parameters
            if p.kind is p.KEYWORD_ONLY and p.name not in NOT_OPTIONS
        )

    @property
    def typical_weight(self) -> float | None:
        """The weight near which that of a scan is searched; None where none is found from the data."""
        typical: float | None = getattr(self.function, "typical_weight", None)
        return typical

    @property
    def fixed(self) -> dict[str, Any]:
        """Options that keep it from searching the data for its regularisation, for tests and timings."""
        if self.typical_weight is not None:
            return {"weight": self.typical_weight}
        return {"early_stopping": False} if self.takes("early_stopping") else {}

    def takes(self, name: str) -> bool:
        """Check whether the method has an argument of that name."""
        return name in inspect.signature(self.function).parameters

    def searches(self, keywords: Mapping[str, Any]) -> bool:
        """Check whether the weight is to be found from the data: the method can, and none is given."""
        return self.typical_weight is not None and keywords.get("weight") is None

    def settled(
        self, field: Any, mask: Any, geometry: Geometry, keywords: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Find the weight from the data, if the method has one and none is given."""
        if not self.searches(keywords):
            return dict(keywords)
        others = {name: value for name, value in keywords.items() if name not in ("weight", "start")}
        return {**keywords, "weight": tuning.choose_weight(self.function, field, mask, geometry, **others)}

    def option(self, name: str) -> Option:
        """Look up the option of that name.

        Raises:
            ValueError: there is none.
        """
        for option in self.options:
            if option.name == name:
                return option
        known = ", ".join(o.name for o in self.options) or "none"
        raise ValueError(f"{self.name} has no option {name!r}; it has: {known}")


def _plain(text: str) -> str:
    """Without the roles of cross-references, for a terminal."""
    return re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"\1", text)


def _listed(package: ModuleType) -> list[Callable[..., Any]]:
    """Functions that a folder's ``__init__`` lists, in its order."""
    return [
        value
        for name, value in vars(package).items()
        if callable(value) and value.__module__.endswith(f".{name}")
    ]


def _stage(
    stage: str, default: Callable[..., Any], *sources: ModuleType | Callable[..., Any]
) -> dict[str, Method]:
    """The methods of a stage: the default one first, then those of whole folders or single ones."""
    functions = [default]
    for source in sources:
        functions += _listed(source) if isinstance(source, ModuleType) else [source]
    several = {function.__name__: function for function in functions if not _of_orientations(function)}
    return {name: Method(stage, name, function) for name, function in several.items()}


def _of_orientations(function: Callable[..., Any]) -> bool:
    return "geometries" in inspect.signature(function).parameters


METHODS: dict[str, dict[str, Method]] = {
    "mask": _stage("mask", masking.magnitude, masking.phase_quality, masking.deepbet),
    "signal": _stage("signal", multi_stage.signal_fit),
    "unwrapping": _stage(
        "unwrapping",
        unwrapping.romeo,
        unwrapping.laplacian,
        unwrapping.best_path,
        pretrained.learned_unwrapping,
    ),
    "phase_offset": _stage("phase_offset", field_mapping.mcpc_3d_s),
    "field_mapping": _stage("field_mapping", field_mapping.weighted_fit, field_mapping.nonlinear_fit),
    "background": _stage(
        "background", background.residual_resharp, background, pretrained.learned_background
    ),
    "inversion": _stage(
        "inversion",
        inversion.tv,
        inversion,
        pretrained.learned,
        pretrained.qsmnet_plus,
        pretrained.plug_and_play,
        pretrained.red,
        fitting,
    ),
    "single_step": _stage(
        "single_step", single_step.ss_tv, single_step, multi_stage.qsmart, pretrained.learned_single_step
    ),
    "uncertainty": _stage(
        "uncertainty",
        pretrained.learned_standard_deviation,
        uncertainty.deep_ensemble,
        uncertainty.laplace,
        uncertainty.noise_propagation,
        uncertainty.bootstrap,
        uncertainty.gibbs,
        uncertainty.diffusion,
    ),
    "separation": _stage("separation", separation.chi_separation, separation),
    "relaxometry": _stage("relaxometry", relaxometry.arlo, relaxometry),
}
"""Methods by stage; the first of each is the default. A function that the ``__init__`` of the folders
``background``, ``inversion``, ``single_step``, ``fitting``, ``separation`` or ``relaxometry`` lists is a
method of its stage; everything else that lists methods reads this."""

COMMANDS: dict[str, dict[str, Method]] = {
    "run --bipolar": _stage("bipolar", field_mapping.bipolar_offset),
    "cosmos": {"cosmos": Method("cosmos", "cosmos", inversion.cosmos)},
    "sti": {"sti": Method("sti", "sti", inversion.sti)},
    "swi": _stage("swi", weighting.swi, weighting.clear_swi, weighting.true_swi, weighting.minimum_intensity),
}
"""Methods that are not chosen by name, by the command that uses them."""


def find_methods(stage: str) -> Mapping[str, Method]:
    """List the methods of a stage by name, its default first.

    Example:
        >>> next(iter(find_methods("inversion")))
        'tv'
    """
    return METHODS[stage]


def find_method(stage: str, name: str) -> Method:
    """Look a method up.

    Raises:
        ValueError: no such method in that stage.
    """
    if name not in METHODS[stage]:
        raise ValueError(f"{stage} method {name!r} is unknown; use one of {', '.join(METHODS[stage])}")
    return METHODS[stage][name]
