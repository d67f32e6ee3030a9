"""Learning-rate schedules: functions of the step that give the factor of the base rate.

Steps count from 0, the factor of step s is used for the s-th update. Each is a pure function, so that a resumed run
goes on where it was; only :class:`Plateau` follows a metric and has a state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lowp import errors

Schedule = Callable[[int], float]


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise errors.InvalidArgument(f"{name} is {value}; {least} or more is wanted")


def constant() -> Schedule:
    """1."""
    return lambda step: 1.0


def step(every: int, gamma: float = 0.1) -> Schedule:
    """gamma^floor(step / every)."""
    _at_least("every", every, 1)
    return lambda s: gamma ** (s // every)


def milestones(at: Sequence[int], gamma: float = 0.1) -> Schedule:
    """gamma to the power of how many of the steps `at` are reached."""
    ordered = sorted(at)
    return lambda s: gamma ** sum(s >= m for m in ordered)


def linear(steps: int, end: float = 0.0) -> Schedule:
    """From 1 at step 0 in a line to `end` at `steps`, and `end` from there on."""
    _at_least("steps", steps, 1)
    return lambda s: 1 + (end - 1) * min(s / steps, 1.0)


def cosine(steps: int, end: float = 0.0) -> Schedule:
    """Half a cosine from 1 at step 0 to `end` at `steps` (Loshchilov and Hutter, https://arxiv.org/abs/1608.03983)."""
    _at_least("steps", steps, 1)
    return lambda s: end + (1 - end) * (1 + math.cos(math.pi * min(s / steps, 1.0))) / 2


def noam(width: int, warmup: int) -> Schedule:
    """width^-0.5 min((s+1)^-0.5, (s+1) warmup^-1.5) (Vaswani et al., https://arxiv.org/abs/1706.03762)."""
    _at_least("width", width, 1)
    _at_least("warmup", warmup, 1)
    return lambda s: width**-0.5 * min((s + 1) ** -0.5, (s + 1) * warmup**-1.5)


def one_cycle(steps: int, peak: float = 0.3, start: float = 0.04, end: float = 4e-6) -> Schedule:
    """By cosines from `start` up to 1 at the fraction `peak` of the steps, then down to `end`.

    Smith and Topin, https://arxiv.org/abs/1708.07120; the defaults are those that PyTorch's OneCycleLR made usual.
    """
    _at_least("steps", steps, 1)
    if not 0 < peak < 1:
        raise errors.InvalidArgument(f"peak is {peak}; between 0 and 1 is wanted")

    def between(a: float, b: float, part: float) -> float:
        return b + (a - b) * (1 + math.cos(math.pi * part)) / 2

    def factor(s: int) -> float:
        part = min(s / steps, 1.0)
        return between(start, 1.0, part / peak) if part < peak else between(1.0, end, (part - peak) / (1 - peak))

    return factor


def warm_up(schedule: Schedule, steps: int) -> Schedule:
    """A line from 1/steps at step 0 to 1 at step steps-1, times `schedule`, whose steps begin after it.

    The line multiplies the schedule's first factor (Goyal et al., https://arxiv.org/abs/1706.02677).
    """
    _at_least("steps", steps, 0)
    return lambda s: schedule(0) * (s + 1) / steps if s < steps else schedule(s - steps)


class Plateau:
    """Falls by `gamma` when the metric has not improved for `patience` evaluations.

    Args:
        gamma: what the factor is multiplied with, between 0 and 1.
        patience: evaluations without improvement before it falls.
        least: below which the factor does not fall.
        larger_is_better: whether the metric grows as the model improves.
        threshold: by which the metric has to beat the best one, relative to that.
    """

    def __init__(
        self,
        gamma: float = 0.1,
        patience: int = 10,
        least: float = 0.0,
        larger_is_better: bool = False,
        threshold: float = 1e-4,
    ) -> None:
        if not 0 < gamma < 1:
            raise errors.InvalidArgument(f"gamma is {gamma}; between 0 and 1 is wanted")
        _at_least("patience", patience, 0)
        self._gamma, self._patience, self._least = gamma, patience, least
        self._larger, self._threshold = larger_is_better, threshold
        self._best: float | None = None
        self._bad = 0
        self._factor = 1.0

    def __call__(self, step: int) -> float:
        """The factor, whatever the step."""
        return self._factor

    def observe(self, metric: float) -> bool:
        """Takes in an evaluation's metric; True where the factor falls by it. NaN improves nothing."""
        if improves(metric, self._best, self._larger, self._threshold):
            self._best, self._bad = metric, 0
            return False
        self._bad += 1
        if self._bad <= self._patience:
            return False
        lower = max(self._factor * self._gamma, self._least)
        fell, self._factor, self._bad = lower < self._factor, lower, 0
        return fell

    def state(self) -> dict[str, float | int | None]:
        """For a checkpoint."""
        return {"best": self._best, "bad": self._bad, "factor": self._factor}

    def restore(self, state: dict[str, float | int | None]) -> None:
        """As it was when `state` was taken."""
        self._best = state["best"]
        self._bad = int(state["bad"] or 0)
        self._factor = float(state["factor"] or 0.0)


def improves(metric: float, best: float | None, larger_is_better: bool, threshold: float = 0.0) -> bool:
    """Whether the metric beats the best one so far by more than `threshold` of it; anything but NaN beats none."""
    if math.isnan(metric):
        return False
    if best is None:
        return True
    margin = abs(best) * threshold
    return metric > best + margin if larger_is_better else metric < best - margin
