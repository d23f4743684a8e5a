"""Every choice of a reconstruction made: what a configuration asks for, of a scan of so many echoes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxqsm.methods import Method


@dataclasses.dataclass(frozen=True)
class Step:
    """One stage's method and all of its options.

    Attributes:
        method: of the registry.
        options: keyword arguments as the method is called with them, for an object held at an adult's size.
        stated: the same in true units, for records.
    """

    method: Method
    options: Mapping[str, Any]
    stated: Mapping[str, Any]

    def keywords(self, **from_scan: Any) -> dict[str, Any]:
        """Collect the options, and those values from the scan that the method takes."""
        taken = {name: value for name, value in from_scan.items() if self.method.takes(name)}
        return dict(self.options) | taken


@dataclasses.dataclass(frozen=True)
class Plan:
    """The stages that a scan goes through; None where one is left out.

    Either ``signal`` finds χ at once, or ``unwrapping`` and ``field_mapping`` find the total field, of which
    ``single_step``, or ``background`` and ``inversion``, make χ.

    Attributes:
        reliability: least agreement of a voxel's echoes, 0 to 1, for its field to count.
        bipolar: echoes were read in alternating directions.
        two_pass: invert a second time within the reliable voxels alone.
    """

    signal: Step | None
    phase_offset: Step | None
    unwrapping: Step | None
    field_mapping: Step | None
    background: Step | None
    inversion: Step | None
    single_step: Step | None
    uncertainty: Step | None
    reliability: float
    bipolar: bool
    two_pass: bool

    @property
    def steps(self) -> dict[str, Step]:
        """The stages that are used, in the order that a scan goes through them."""
        each = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {stage: step for stage, step in each.items() if isinstance(step, Step)}

    def needed(self, stage: str) -> Step:
        """Return the step of a stage that the plan is known to have."""
        return self.steps[stage]
