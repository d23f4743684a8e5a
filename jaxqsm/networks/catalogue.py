"""Networks by name, and their weights as files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxqsm.networks.adain_qsm import AdaINQSM, AdaINQSMConfig
from jaxqsm.networks.auto_qsm import AutoQSM, AutoQSMConfig
from jaxqsm.networks.bfrnet import BFRnet
from jaxqsm.networks.chi_sepnet import ChiSepnet, ChiSepnetConfig
from jaxqsm.networks.denoiser import Denoiser, DenoiserConfig
from jaxqsm.networks.error_deviation import ErrorDeviation, ErrorDeviationConfig
from jaxqsm.networks.harmonic_correction import HarmonicCorrection, HarmonicCorrectionConfig
from jaxqsm.networks.iqsm import IQSM, IQSMConfig
from jaxqsm.networks.iqsm_plus import IQSMPlus
from jaxqsm.networks.ir2qsm import IR2QSM, IR2QSMConfig
from jaxqsm.networks.lpcnn import LPCNN, LPCNNConfig
from jaxqsm.networks.modl_qsm import MoDLQSM, MoDLQSMConfig
from jaxqsm.networks.neumann import Neumann, NeumannConfig
from jaxqsm.networks.nextqsm import NeXtQSM, NeXtQSMConfig
from jaxqsm.networks.pdi import PDI, PDIConfig
from jaxqsm.networks.phu_net import PHUNet, PHUNetConfig
from jaxqsm.networks.proximal_vn import LearnedNDIConfig, ProximalVN, ProximalVNConfig
from jaxqsm.networks.qsm_invnet import QSMInvNet, QSMInvNetConfig
from jaxqsm.networks.qsmgan import QSMGAN, QSMGANConfig
from jaxqsm.networks.qsmnet import QSMnet, QSMnetConfig
from jaxqsm.networks.single_step import SingleStep, SingleStepConfig
from jaxqsm.networks.spinet_qsm import SpiNetQSM, SpiNetQSMConfig
from jaxqsm.networks.strided_u_net import DeepQSM, SHARQnet, StridedUNetConfig
from jaxqsm.networks.unrolled import Unrolled, UnrolledConfig
from jaxqsm.networks.vandi import VaNDI, VaNDIConfig
from jaxqsm.networks.xqsm import XQSM, XQSMConfig


@dataclasses.dataclass(frozen=True)
class Family:
    """A network and the configuration of its size."""

    module: Callable[..., nnx.Module]
    config: type


NETWORKS: Mapping[str, Family] = {
    "unrolled": Family(Unrolled, UnrolledConfig),
    "single_step": Family(SingleStep, SingleStepConfig),
    "harmonic_correction": Family(HarmonicCorrection, HarmonicCorrectionConfig),
    "error_deviation": Family(ErrorDeviation, ErrorDeviationConfig),
    "denoiser": Family(Denoiser, DenoiserConfig),
    "deepqsm": Family(DeepQSM, StridedUNetConfig),
    "qsmnet": Family(QSMnet, QSMnetConfig),
    "qsmgan": Family(QSMGAN, QSMGANConfig),
    "qsm_invnet": Family(QSMInvNet, QSMInvNetConfig),
    "adain_qsm": Family(AdaINQSM, AdaINQSMConfig),
    "xqsm": Family(XQSM, XQSMConfig),
    "ir2qsm": Family(IR2QSM, IR2QSMConfig),
    "pdi": Family(PDI, PDIConfig),
    "vandi": Family(VaNDI, VaNDIConfig),
    "proximal_vn": Family(ProximalVN, ProximalVNConfig),
    "learned_ndi": Family(ProximalVN, LearnedNDIConfig),
    "lpcnn": Family(LPCNN, LPCNNConfig),
    "modl_qsm": Family(MoDLQSM, MoDLQSMConfig),
    "spinet_qsm": Family(SpiNetQSM, SpiNetQSMConfig),
    "neumann": Family(Neumann, NeumannConfig),
    "sharqnet": Family(SHARQnet, StridedUNetConfig),
    "bfrnet": Family(BFRnet, XQSMConfig),
    "auto_qsm": Family(AutoQSM, AutoQSMConfig),
    "phu_net": Family(PHUNet, PHUNetConfig),
    "nextqsm": Family(NeXtQSM, NeXtQSMConfig),
    "chi_sepnet": Family(ChiSepnet, ChiSepnetConfig),
    "iqsm": Family(IQSM, IQSMConfig),
    "iqsm_plus": Family(IQSMPlus, IQSMConfig),
}
"""Networks by the names that configurations and weight files use."""


def build(name: str, options: Mapping[str, Any], *, seed: int = 0) -> Any:
    """A network with fresh weights.

    Raises:
        ValueError: unknown network or option.
    """
    if name not in NETWORKS:
        raise ValueError(f"network {name!r} is unknown; use one of {', '.join(NETWORKS)}")
    family = NETWORKS[name]
    known = {field.name for field in dataclasses.fields(family.config)}
    if not set(options) <= known:
        wrong = sorted(set(options) - known)[0]
        raise ValueError(f"network {name} has no option {wrong!r}; it has {', '.join(sorted(known))}")
    return family.module(family.config(**options), rngs=nnx.Rngs(seed))


def save_weights(
    path: Path, name: str, options: Mapping[str, Any], parameters: nnx.State, notes: Mapping[str, str]
) -> None:
    """Write weights as safetensors; the header says which network they are of, and ``notes``."""
    flat = {name: np.asarray(value) for name, value in flat_weights(parameters).items()}
    header = {"network": name, "options": json.dumps(dict(options), sort_keys=True), **notes}
    partial = path.with_name(path.name + ".partial")
    save_file(flat, partial, metadata=header)
    partial.replace(path)


def load_network(path: Path) -> tuple[Any, dict[str, str]]:
    """The network of a weight file, and the file's notes.

    Raises:
        ValueError: not a weight file of ours, or of another shape than its network.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            notes = dict(file.metadata() or {})
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as safetensors ({error})") from error
    if "network" not in notes:
        raise ValueError(f"{path}: does not say which network its weights are of")
    options = json.loads(notes["options"])
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    try:
        return with_weights(build(notes["network"], options), values), notes
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def flat_weights(state: nnx.State) -> dict[str, Any]:
    """Weights and running statistics by dotted name; random states are left out."""
    kept = nnx.filter_state(state, nnx.Not(nnx.RngState))
    return {
        ".".join(map(str, key)): value
        for key, value in nnx.traversals.flatten_mapping(nnx.to_pure_dict(kept)).items()
    }


def with_weights(network: Any, weights: Mapping[str, Any]) -> Any:
    """The network with these weights, named as by :func:`flat_weights`.

    Raises:
        ValueError: names or shapes are not those of the network.
    """
    graph, kept, random = nnx.split(network, nnx.Not(nnx.RngState), ...)  # type: ignore[misc]
    wanted = nnx.traversals.flatten_mapping(nnx.to_pure_dict(kept))
    names = {".".join(map(str, key)): key for key in wanted}
    if set(names) != set(weights):
        odd = sorted(set(names) ^ set(weights))[0]
        raise ValueError(f"not the weights of {type(network).__name__} (see {odd})")
    for name, key in names.items():
        if np.shape(weights[name]) != wanted[key].shape:
            has, needs = np.shape(weights[name]), wanted[key].shape
            raise ValueError(f"{name} has shape {has}, {type(network).__name__} needs {needs}")
    filled = {names[name]: jnp.asarray(value) for name, value in weights.items()}
    nnx.replace_by_pure_dict(kept, nnx.traversals.unflatten_mapping(filled))
    return nnx.merge(graph, kept, random)


def parameter_count(network: nnx.Module) -> int:
    """Number of learned values."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))
