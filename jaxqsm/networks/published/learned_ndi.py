"""Learned nonlinear dipole inversion: gradient steps of the phase misfit and learned images."""

from __future__ import annotations

import dataclasses

from flax import nnx

from jaxqsm.networks.published.proximal_vn import ProximalVN, ProximalVNConfig


@dataclasses.dataclass(frozen=True)
class LearnedNDIConfig(ProximalVNConfig):
    """Size and units of :class:`LearnedNDI`: ``phase_scale`` is 16, 20 ms at 3 T."""

    phase_scale: float = 16.0


class LearnedNDI(ProximalVN):
    """χ ← Pₙ(χ − stepₙ · D W² sin(s (Dχ − field)) / s), Pₙ learned, from χ = 0.

    The network learns how far to go in each iteration, and the regularisation that NDI leaves to early
    stopping.

    Args:
        config: its size and the phase of 1 ppm.
        rngs: random state.

    References:
        Polak et al. 2020, NMR Biomed 33:e4271, doi:10.1002/nbm.4271.
    """

    def __init__(self, config: LearnedNDIConfig = LearnedNDIConfig(), *, rngs: nnx.Rngs) -> None:
        super().__init__(config, rngs=rngs)
