"""Timing in turns: each round times every engine once, while the threads of the others sleep."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

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


# Mean of median over minimum from which a cell counts as disturbed. On an idle machine it is 1.02 to 1.05.
DISTURBED = 1.08


def disturbance(times: Mapping[str, Sequence[float]]) -> float:
    """How much others on the machine disturbed a cell: the mean, over engines, of median over minimum."""
    return statistics.mean([statistics.median(own) / min(own) for own in times.values()] or [1.0])


def calmest(
    runs: Mapping[str, Run], feed: Feed, rounds: int, attempts: int, report: Callable[[str], None]
) -> dict[str, list[float]]:
    """take_turns, again while the machine disturbs it; of several attempts the least disturbed, whoever wins in it."""
    best: dict[str, list[float]] = {}
    for attempt in range(attempts):
        times = take_turns(runs, feed, rounds, attempt)
        if not best or disturbance(times) < disturbance(best):
            best = times
        if disturbance(best) < DISTURBED:
            break
        report(f"  disturbed: medians are {disturbance(times):.2f}x the minima")
    return best


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
