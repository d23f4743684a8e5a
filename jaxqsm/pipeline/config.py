"""Configuration of a reconstruction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxqsm.methods import METHODS, Method, find_method
from jaxqsm.pipeline.plan import Plan, Step

TWO_STAGE = {stage: next(iter(METHODS[stage])) for stage in ("background", "inversion")}
"""Default methods where one of the two stages is named, or no single step."""


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
        background: ``"auto"`` (default) is ``"residual_resharp"``, the most accurate; ``"v_sharp"`` is fast.
        inversion: ``"auto"`` (default) is ``"tv"``.
        single_step: from total field to χ in place of background removal and inversion. ``"auto"`` (default)
            is ``"ss_tv"``, or ``"none"`` if a background or inversion method is named, be it in the options.
        two_pass: invert a second time, within the reliable voxels alone, whose χ is then free of what a field
            of noise in the others throws far; the others keep that of the first pass. In two stages, for
            inversions that do not weigh voxels. Default false.
        uncertainty: ``"learned_standard_deviation"``, ``"deep_ensemble"``, ``"laplace"``, ``"gibbs"``,
            ``"diffusion"`` or, in two stages, ``"noise_propagation"`` or ``"bootstrap"`` adds a map of the
            standard deviation of χ. Default ``"none"``.
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
        used = {step.method.name: step.method for step in self.plan(2).steps.values()}
        for name, options in self.options.items():
            if name not in used:
                raise ValueError(f"options for {name!r}, which is not in use; in use: {', '.join(used)}")
            for option in options:
                used[name].option(option)

    def plan(self, echoes: int, *, scale: float = 1.0) -> Plan:
        """Make every choice that the configuration leaves open.

        Args:
            echoes: of the scan.
            scale: size of the scanned object relative to an adult's brain. The object is held ``1 / scale``
                times as large: options that are not set have their defaults, which are meant for that size;
                lengths that are set keep their true length.

        Returns:
            The plan. A weight that the data choose is None in it, as it depends on the field.

        Raises:
            ValueError: unknown method or option, methods that do not go together, or one that needs more
                echoes.
        """
        names = self._names(echoes)
        used = {stage: find_method(stage, name) for stage, name in names.items() if name != "none"}
        self._check(used, echoes)
        steps = {}
        for stage, method in used.items():
            chosen = self.options.get(method.name, {})
            options, stated = {}, {}
            for option in method.options:
                if option.name in chosen:
                    stated[option.name] = chosen[option.name]
                    options[option.name] = option.times(chosen[option.name], 1 / scale)
                else:
                    stated[option.name] = option.times(option.default, scale)
                    options[option.name] = option.default
            steps[stage] = Step(method, options, stated)
        return Plan(
            **{stage: steps.get(stage) for stage in names},
            reliability=self.reliability,
            bipolar=self.bipolar,
            two_pass=self.two_pass,
        )

    def _names(self, echoes: int) -> dict[str, str]:
        """The method of every stage, or none."""
        at_once = self.signal != "none"
        single_step = self.single_step
        if single_step == "auto":
            named = {self.background, self.inversion} - {"auto"} | set(self.options) & set(TWO_STAGE.values())
            single_step = "none" if named else next(iter(METHODS["single_step"]))
        two_stage = {stage: getattr(self, stage) for stage in TWO_STAGE}
        two_stage = {s: TWO_STAGE[s] if name == "auto" else name for s, name in two_stage.items()}
        for stage, name in two_stage.items():
            find_method(stage, name)
        phase_offset = self.phase_offset
        if phase_offset == "auto":
            phase_offset = next(iter(METHODS["phase_offset"])) if echoes > 1 else "none"
        names = {
            "phase_offset": phase_offset,
            "unwrapping": self.unwrapping,
            "field_mapping": self.field_mapping,
            **(two_stage if single_step == "none" else dict.fromkeys(two_stage, "none")),
            "single_step": single_step,
        }
        names = dict.fromkeys(names, "none") if at_once else names
        return {"signal": self.signal, **names, "uncertainty": self.uncertainty}

    def _check(self, used: Mapping[str, Method], echoes: int) -> None:
        if echoes < 2 and "phase_offset" in used:
            raise ValueError(
                f"phase offset by {used['phase_offset'].name} needs two echoes; this scan has one"
            )
        fit = used.get("field_mapping")
        if echoes < 2 and fit is not None and self.options.get(fit.name, {}).get("intercept"):
            raise ValueError(f"{fit.name} with intercept needs two echoes; this scan has one")
        if self.two_pass and "inversion" not in used:
            raise ValueError("two_pass inverts a local field twice; name an inversion (such as tv)")
        follows = used.get("uncertainty")
        if follows is not None and follows.takes("method") and "inversion" not in used:
            raise ValueError(
                f"{follows.name} follows noise through an inversion of the local field, but χ is found in "
                "one step here; name an inversion (such as tv), or another method of uncertainty"
            )


def planned(config: Config | Plan, echoes: int) -> Plan:
    """Return a plan as it is, and the plan of a configuration for so many echoes."""
    return config.plan(echoes) if isinstance(config, Config) else config
