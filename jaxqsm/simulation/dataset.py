"""The stream of patches as a Grain dataset: numbered, so that it can be resumed and shared out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np

from jaxqsm.simulation.patches import Patch, Variety, patch_stream

if TYPE_CHECKING:
    import grain

EPOCH = 2**31 - 1
"""Patches in the dataset: more than a training can use, as Grain's datasets are finite."""


def patch_dataset(
    seed: int,
    shape: tuple[int, int, int] = (64, 64, 64),
    *,
    batch_size: int = 1,
    variety: Variety = Variety(),
    shard_index: int = 0,
    shard_count: int = 1,
) -> grain.MapDataset[Patch]:
    """Stream batches of simulated patches, each made from its number on request.

    Patch ``i`` depends on ``seed`` and ``i`` alone. So an iterator resumes exactly from its Grain state
    (``get_state``, ``set_state``, or an Orbax checkpoint of it), and hosts that take every
    ``shard_count``-th patch together see each patch once.

    Args:
        seed: names the stream. The evaluation set uses no stream.
        shape: of a patch.
        batch_size: patches of one element.
        variety: what to draw from.
        shard_index: this host, e.g. ``jax.process_index()``.
        shard_count: all hosts, e.g. ``jax.process_count()``.

    Returns:
        ``grain.MapDataset`` of :class:`Patch` batches as NumPy arrays. Iterate
        ``dataset.to_iter_dataset(grain.ReadOptions(num_threads=1))``, which makes patches ahead in a thread.

    Raises:
        ImportError: Grain is not installed (``pip install jaxqsm[learning]``).
        ValueError: a shard index that is not below the number of shards.
    """
    try:
        import grain
    except ImportError as error:
        raise ImportError("patch_dataset needs Grain: pip install 'jaxqsm[learning]'") from error
    if not 0 <= shard_index < shard_count:
        raise ValueError(f"shard_index {shard_index} is not within the {shard_count} shards")
    draw = patch_stream(shape, batch_size=1, variety=variety)
    root = jax.random.key(seed)

    def make(number: int) -> Patch:
        batch = draw(jax.random.fold_in(root, number))
        return jax.tree.map(lambda leaf: np.asarray(leaf)[0], batch)

    numbers = grain.MapDataset.range(shard_index, EPOCH, shard_count)
    return numbers.map(make).batch(batch_size, drop_remainder=True)
