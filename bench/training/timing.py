"""What torch_steps.py and versus_peers.py time steps with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def timed(step: Callable[[], Any], steps: int) -> list[float]:
    """Milliseconds of each of `steps` calls after one that is not timed."""
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    return times[1:]
