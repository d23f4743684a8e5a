"""Published weights, from the files their authors share, into our networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from jaxqsm.networks import NETWORKS, build, flat_weights, with_weights
from jaxqsm.networks.published_weights import PublishedWeights

CONVERTIBLE = tuple(name for name, family in NETWORKS.items() if family.from_published is not None)
"""Names of the networks whose published weights can be read."""


def convert_weights(weights: Mapping[str, np.ndarray], network: str, options: Mapping[str, Any]) -> Any:
    """Build a network of ours with published weights.

    Args:
        weights: arrays by their published names, from :func:`~jaxqsm.learning.read_checkpoint`.
        network: one of :data:`CONVERTIBLE`.
        options: of the network's configuration. Published files leave out the means and standard deviations
            that networks were trained with (``chi_std`` …). Default: the authors', where they are known
            (:attr:`jaxqsm.networks.Family.published_statistics`).

    Raises:
        ValueError: unknown network, or weights of another.
    """
    read = NETWORKS[network].from_published if network in NETWORKS else None
    if read is None:
        raise ValueError(f"weights of {network!r} cannot be converted; known are {', '.join(CONVERTIBLE)}")
    family, named = NETWORKS[network], PublishedWeights(weights)
    try:
        converted = read(named)
        told = family.published_options(named)
    except KeyError as error:
        raise ValueError(f"not weights of {network}: {error.args[0]} is missing") from None
    ours = build(network, {**family.published_statistics, **told, **options})
    # Scalars are stored as vectors of one by some.
    wanted = flat_weights(nnx.state(ours))
    shaped = {
        name: value.reshape(wanted[name].shape) if name in wanted and value.size == 1 else value
        for name, value in converted.items()
    }
    return with_weights(ours, shaped)
