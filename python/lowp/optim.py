"""Optimizers: what the step of a trainer does with gradients.

Names and defaults are PyTorch's. The step itself is part of the compiled graph (formulas: docs/training.md); an
optimizer here is a description. Biases and scales of normalizations are not decayed unless ``decay_all``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lowp import errors

Schedule = Callable[[int], float]


@dataclass
class Optimizer:
    """What all have.

    Attributes:
        lr: learning rate, before the schedule.
        weight_decay: added to the gradient (SGD, Adam), or decoupled from it (AdamW, LAMB).
        schedule: factor of the learning rate from the number of the step, from 0; see :mod:`lowp.train.schedules`.
        factors: of the learning rate, by the beginning of a parameter's name; the longest that fits counts.
        decay_all: decays biases and scales too.
    """

    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: Schedule | None = None
    factors: dict[str, float] = field(default_factory=dict)
    decay_all: bool = False

    def __post_init__(self) -> None:
        if not self.lr >= 0:
            raise errors.InvalidArgument(f"lr is {self.lr}, 0 or more is wanted")
        if not self.weight_decay >= 0:
            raise errors.InvalidArgument(f"weight_decay is {self.weight_decay}, 0 or more is wanted")

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 0."""
        return self.lr * (1.0 if self.schedule is None else self.schedule(step))

    def options(self) -> dict[str, Any]:
        """As the core takes them."""
        raise NotImplementedError

    def factor(self, name: str) -> float:
        """Of a parameter's learning rate."""
        fitting = [p for p in self.factors if name.startswith(p)]
        return self.factors[max(fitting, key=len)] if fitting else 1.0


@dataclass
class SGD(Optimizer):
    """Stochastic gradient descent with momentum; nesterov looks ahead."""

    momentum: float = 0.0
    nesterov: bool = False

    def options(self) -> dict[str, Any]:
        """As the core takes them."""
        return {
            "name": "sgd",
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "weight_decay": self.weight_decay,
        }


@dataclass
class Adam(Optimizer):
    """Kingma and Ba 2015."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    _name = "adam"

    def options(self) -> dict[str, Any]:
        """As the core takes them."""
        return {
            "name": self._name,
            "beta1": self.betas[0],
            "beta2": self.betas[1],
            "epsilon": self.eps,
            "weight_decay": self.weight_decay,
        }


@dataclass
class AdamW(Adam):
    """Loshchilov and Hutter 2019: decay beside the gradient."""

    weight_decay: float = 0.01

    _name = "adamw"


@dataclass
class LAMB(Adam):
    """You et al. 2020: each parameter's step is scaled to its norm, for large batches."""

    weight_decay: float = 0.01
    eps: float = 1e-6

    _name = "lamb"
