"""What to do with a scan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxqsm.methods import Method, find_method

STAGES = (
    "signal",
    "phase_offset",
    "unwrapping",
    "field_mapping",
    "background",
    "inversion",
    "single_step",
    "uncertainty",
)
"""In the order that a scan goes through them."""

TWO_STAGE = {"background": "residual_resharp", "inversion": "tv"}
"""What is used where one of them is named, or no single step."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The chosen method of every stage and the options that differ from their defaults.

    Attributes:
        signal: ``"signal_fit"`` goes from the complex signal to χ at once, and no other stage is used.
            Default ``"none"``.
        unwrapping: default ``"romeo"``: exact multiples of 2π.
        phase_offset: ``"mcpc_3d_s"``, ``"none"``, or ``"auto"`` (default: the former with two echoes
            or more).
        bipolar: echoes are read in alternating directions: every second one is first brought to the others
            (:func:`jaxqsm.field_mapping.bipolar_offset`). Needs three echoes at even intervals. Default
            false.
        field_mapping: default ``"weighted_fit"``: closed form.
        reliability: least agreement of the echoes of a voxel, 0 to 1, for its field to count. Default
            0.9: below it are residuals above half a radian; 0 lets every voxel count.
        background: ``"auto"`` (default) is ``"residual_resharp"``: on the head phantom at 1 mm the error of χ
            by ``learned``, ``l1_qsm`` or ``medi`` is 40 to 50 % less than after ``"v_sharp"``, the fast one.
        inversion: ``"auto"`` (default) is ``"tv"``.
        single_step: from total field to χ in place of background removal and inversion. ``"auto"``
            (default) is ``"ss_tv"``, or ``"none"`` if a background or inversion method is named, be it in the
            options. On the head phantom at 1 mm, oblique, ``ss_tv`` leaves an error of 13 %,
            ``residual_resharp`` and ``learned`` 10 %, ``v_sharp`` and ``medi`` 24 %.
        two_pass: invert a second time, within the reliable voxels alone, whose χ is then free of what a field
            of noise in the others throws far; the others keep that of the first pass. In two stages, for
            inversions that do not weigh voxels: with a bleed at 2 mm, 7 T (0.1 % unreliable), ``tkd`` has
            100.1 instead of 102.1 %, ``ilsqr`` 71.3 instead of 71.4 %, ``tv`` the same. Default false.
        uncertainty: ``"learned_standard_deviation"``, ``"deep_ensemble"``, ``"laplace"``, ``"gibbs"``, ``"diffusion"``
            or, in two stages, ``"noise_propagation"`` or ``"bootstrap"`` adds a map of the standard deviation
            of χ. Default ``"none"``.
        options: per method name, keyword options, e.g. ``{"tv": {"weight": 1e-4}}``.

    Raises:
        ValueError: unknown method or option, or methods that do not go together.
    """

    signal: str = "none"
    unwrapping: str = "romeo"
    phase_offset: str = "auto"
    bipolar: bool = False
    field_mapping: str = "weighted_fit"
    reliability: float = 0.9
    background: str = "auto"
    inversion: str = "auto"
    single_step: str = "auto"
    two_pass: bool = False
    uncertainty: str = "none"
    options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        names = {method.name: method for method in self.used(2).values()}
        for name, options in self.options.items():
            if name not in names:
                raise ValueError(f"options for {name!r}, which is not in use; in use: {', '.join(names)}")
            for option in options:
                names[name].option(option)
        if self.two_pass and self.method("inversion", 2) is None:
            raise ValueError("two_pass inverts a local field twice; name an inversion (such as tv)")
        follows = self.method("uncertainty", 2)
        if (
            follows is not None
            and follows.takes("method")
            and self.method("inversion", 2) is None
        ):
            raise ValueError(
                f"{follows.name} follows noise through an inversion of the local field, but χ is found in "
                "one step here; name an inversion (such as tv), or another method of uncertainty"
            )

    def used(self, echoes: int) -> dict[str, Method]:
        """The method of every stage that a scan of that many echoes goes through, in order."""
        methods = {stage: self.method(stage, echoes) for stage in STAGES}
        return {stage: method for stage, method in methods.items() if method is not None}

    def method(self, stage: str, echoes: int) -> Method | None:
        """The method of a stage for a scan of that many echoes; None to leave the stage out."""
        name = getattr(self, stage)
        if stage in ("signal", "uncertainty"):
            return None if name == "none" else find_method(stage, name)
        if self.signal != "none":
            return None
        if stage in ("background", "inversion"):
            name = TWO_STAGE[stage] if name == "auto" else name
            find_method(stage, name)
            if self._in_one_step != "none":
                return None
        if stage == "single_step":
            name = self._in_one_step
            if name == "none":
                return None
        if stage == "phase_offset":
            if name == "none" or (name == "auto" and echoes < 2):
                return None
            name = "mcpc_3d_s" if name == "auto" else name
        return find_method(stage, name)

    @property
    def _in_one_step(self) -> str:
        if self.single_step != "auto":
            return self.single_step
        named = {self.background, self.inversion} - {"auto"} | set(self.options) & set(TWO_STAGE.values())
        return "none" if named else "ss_tv"

    def at_scale(self, scale: float) -> Config:
        """The configuration for an object held ``1 / scale`` times as large: what was set keeps its length.

        Options that are not set have their defaults, which are meant for that size.
        """
        methods = {method.name: method for method in self.used(2).values()}
        options = {
            name: {key: methods[name].option(key).times(value, 1 / scale) for key, value in chosen.items()}
            for name, chosen in self.options.items()
        }
        return dataclasses.replace(self, options=options)

    def options_at(self, method: Method, scale: float) -> dict[str, Any]:
        """All options of a method in true units: defaults as they are for an object of that scale."""
        return {
            name: value
            if name in self.options.get(method.name, {})
            else method.option(name).times(value, scale)
            for name, value in self.options_of(method).items()
        }

    def options_of(self, method: Method) -> dict[str, Any]:
        """All options of a method: its defaults, and those set here."""
        defaults = {option.name: option.default for option in method.options}
        return defaults | dict(self.options.get(method.name, {}))
