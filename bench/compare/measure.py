"""Timing in turns: each round times every engine once, while the threads of the others sleep."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping, Sequence

from compare.engines import Run
from compare.models import Feed

# Worker threads of other engines spin for 25 to 60 ms after a run, and would slow down what is timed next.
PAUSE_S = 0.1
# A timing is of so many calls that it takes at least this long.
_LEAST_S = 0.01


def _seconds(run: Run, feed: Feed, calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        run(feed)
    return (time.perf_counter() - begin) / calls


def take_turns(runs: Mapping[str, Run], feed: Feed, rounds: int, seed: int = 0) -> dict[str, list[float]]:
    """Milliseconds a call of each run in each round. The order changes from round to round."""
    order = list(runs)
    shuffle = random.Random(seed)
    calls = {}
    for name, run in runs.items():
        run(feed)
        calls[name] = max(1, round(_LEAST_S / _seconds(run, feed, 1)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        shuffle.shuffle(order)
        for name in order:
            time.sleep(PAUSE_S)
            runs[name](feed)  # wakes the engine's own threads, fetches its weights
            times[name].append(1e3 * _seconds(runs[name], feed, calls[name]))
    return times


def paired_interval(
    base: Sequence[float], other: Sequence[float], samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95% bootstrap interval of the ratio of medians base / other, over rounds, which were timed side by side."""
    draw = random.Random(seed)
    n = len(base)
    ratios = []
    for _ in range(samples):
        picked = [draw.randrange(n) for _ in range(n)]
        ratios.append(statistics.median(base[i] for i in picked) / statistics.median(other[i] for i in picked))
    ratios.sort()
    return ratios[int(0.025 * samples)], ratios[min(samples - 1, int(0.975 * samples))]
