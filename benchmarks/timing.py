"""Times of what is compiled already."""

from __future__ import annotations

import time
from collections.abc import Callable


def best_seconds(work: Callable[[], object], runs: int) -> float:
    """Measure the shortest of several runs; the work must wait for its own end."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
