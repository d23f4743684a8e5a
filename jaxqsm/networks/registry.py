"""The only list of networks: a line names a network's class, its task and a small size to try it at."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from flax import nnx

from jaxqsm.networks.network import Network
from jaxqsm.networks.published_weights import PublishedWeights, Weights


@dataclasses.dataclass(frozen=True)
class Family:
    """A network by name. Its module is imported when it is first used.

    Attributes:
        path: ``folder.module.Class`` within :mod:`jaxqsm.networks`.
        small: options of a small network of this family, for trials and tests.
        physics: whether the output depends on voxel size or field direction.
        task: the task that it is published for, see :class:`jaxqsm.learning.TrainingConfig`.
    """

    path: str
    small: Mapping[str, Any]
    physics: bool = False
    task: str = "inversion"

    @property
    def module(self) -> type[Network]:
        """The class of the network."""
        return getattr(self._file, self.path.rpartition(".")[2])

    @property
    def config(self) -> type:
        """The frozen dataclass of its options."""
        return type(inspect.signature(self.module.__init__).parameters["config"].default)

    @property
    def from_published(self) -> Callable[[PublishedWeights], Weights] | None:
        """Reader of the weights that the authors published; None where there is none."""
        return vars(self._file).get("from_published")

    def published_options(self, named: PublishedWeights) -> Mapping[str, Any]:
        """Read options from the authors' file, as far as it tells them."""
        read = vars(self._file).get("published_options")
        return {} if read is None else read(named)

    @property
    def published_statistics(self) -> Mapping[str, float]:
        """Options that the authors' weights go with and their files leave out, as far as they are known."""
        return vars(self._file).get("PUBLISHED_STATISTICS", {})

    @property
    def unknown_statistics(self) -> tuple[str, ...]:
        """Options of that kind whose value for the authors' weights is not known."""
        names = (field.name for field in dataclasses.fields(self.config))
        return tuple(n for n in names if n.endswith(("_mean", "_std")) and n not in self.published_statistics)

    @property
    def _file(self) -> ModuleType:
        return importlib.import_module(f"jaxqsm.networks.{self.path.rpartition('.')[0]}")


NETWORKS: Mapping[str, Family] = {
    "unrolled": Family("ours.unrolled.Unrolled", {"channels": 8}, physics=True),
    "single_step": Family("ours.single_step.SingleStep", {"channels": 4}, physics=True, task="single_step"),
    "harmonic_correction": Family(
        "ours.harmonic_correction.HarmonicCorrection", {"channels": 4}, physics=True, task="background"
    ),
    "error_standard_deviation": Family(
        "ours.error_standard_deviation.ErrorStandardDeviation", {"channels": 4}, physics=True
    ),
    "denoiser": Family("ours.denoiser.Denoiser", {"channels": 4}, task="denoising"),
    "deepqsm": Family("published.deepqsm.DeepQSM", {"channels": 4, "depth": 2}),
    "qsmnet": Family("published.qsmnet.QSMnet", {"channels": 4, "depth": 2, "size": 3}),
    "qsmgan": Family("published.qsmgan.QSMGAN", {"channels": 4, "depth": 2}),
    "qsm_invnet": Family("published.qsm_invnet.QSMInvNet", {"channels": 4, "depth": 2}),
    "adain_qsm": Family("published.adain_qsm.AdaINQSM", {"channels": 4, "depth": 2, "code": 8}, physics=True),
    "xqsm": Family("published.xqsm.XQSM", {"channels": 8}),
    "ir2qsm": Family("published.ir2qsm.IR2QSM", {"channels": 4, "depth": 2, "iterations": 2}),
    "pdi": Family("published.pdi.PDI", {"channels": 4, "depth": 2}),
    "vandi": Family("published.vandi.VaNDI", {"iterations": 2, "filters": 4, "size": 3}, physics=True),
    "proximal_vn": Family(
        "published.proximal_vn.ProximalVN", {"iterations": 2, "width": 8, "depth": 3}, physics=True
    ),
    "learned_ndi": Family(
        "published.learned_ndi.LearnedNDI", {"iterations": 2, "width": 8, "depth": 3}, physics=True
    ),
    "lpcnn": Family("published.lpcnn.LPCNN", {"blocks": 1, "width": 8, "iterations": 2}, physics=True),
    "modl_qsm": Family(
        "published.modl_qsm.MoDLQSM", {"blocks": 1, "width": 8, "iterations": 2}, physics=True
    ),
    "spinet_qsm": Family(
        "published.spinet_qsm.SpiNetQSM",
        {"blocks": 1, "width": 8, "iterations": 1, "solver_iterations": 5},
        physics=True,
    ),
    "neumann": Family("published.neumann.Neumann", {"blocks": 1, "width": 8, "terms": 2}, physics=True),
    "sharqnet": Family("published.sharqnet.SHARQnet", {"channels": 4, "depth": 2}, task="background"),
    "bfrnet": Family("published.bfrnet.BFRnet", {"channels": 8}, task="background"),
    "auto_qsm": Family(
        "published.auto_qsm.AutoQSM",
        {"channels": 4, "depth": 2, "patch": 16, "middle": 8, "overlap": 2},
        task="single_step",
    ),
    "phu_net": Family("published.phu_net.PHUNet", {"channels": 4}, task="unwrapping"),
    "nextqsm": Family(
        "published.nextqsm.NeXtQSM",
        {"channels": 4, "background_depth": 2, "depth": 1, "iterations": 2, "strength": 0.001},
        physics=True,
        task="single_step",
    ),
    "chi_sepnet": Family("published.chi_sepnet.ChiSepnet", {"channels": 4}, physics=True, task="separation"),
    "iqsm": Family("published.iqsm.IQSM", {"channels": 4, "depth": 2, "filters": 3}, task="single_step"),
    "iqsm_plus": Family(
        "published.iqsm_plus.IQSMPlus",
        {"channels": 4, "depth": 2, "filters": 3},
        physics=True,
        task="single_step",
    ),
}
"""Networks by the names that configurations and weight files use."""


def build(name: str, options: Mapping[str, Any], *, seed: int = 0) -> Any:
    """Make a network with fresh weights.

    Args:
        name: of :data:`NETWORKS`.
        options: of the network's configuration, by name.
        seed: of the weights. Default 0.

    Raises:
        ValueError: unknown network or option.

    Example:
        >>> network = build("lpcnn", {"blocks": 1, "width": 8})
    """
    if name not in NETWORKS:
        raise ValueError(f"network {name!r} is unknown; use one of {', '.join(NETWORKS)}")
    family = NETWORKS[name]
    known = {field.name for field in dataclasses.fields(family.config)}
    if not set(options) <= known:
        wrong = sorted(set(options) - known)[0]
        raise ValueError(f"network {name} has no option {wrong!r}; it has {', '.join(sorted(known))}")
    return family.module(family.config(**options), rngs=nnx.Rngs(seed))  # type: ignore[call-arg]
