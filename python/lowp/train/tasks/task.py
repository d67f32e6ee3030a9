"""The contract of a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowp import errors
from lowp._engine import Engine
from lowp._model import Model
from lowp.data import Loader
from lowp.nn import Module, Tensor
from lowp.train.recipe import Recipe

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Batch:
    """What a step takes: the model's inputs and the loss's targets, by name or in order."""

    inputs: Any
    targets: Any


class Task(ABC):
    """A model with its data.

    Attributes:
        model: what is trained.
        metric: the figure of :meth:`evaluate` that the best checkpoint is chosen by.
        larger_is_better: of the metric.
    """

    model: Module
    metric: str
    larger_is_better = True

    def __init__(self, recipe: Recipe, data: tuple[str, ...]) -> None:
        if recipe.data.name not in data:
            raise errors.InvalidArgument(
                f"'{recipe.path}': model '{recipe.model.name}' trains on {' or '.join(data)}, not on {recipe.data.name}"
            )
        self.recipe = recipe

    @abstractmethod
    def loss(self, outputs: Any, *targets: Tensor, **named: Tensor) -> Tensor:
        """A scalar."""

    @abstractmethod
    def loader(self, rank: int = 0, ranks: int = 1) -> Loader:
        """Of the training data; `batch_size` of the recipe is that of one rank."""

    @abstractmethod
    def batch(self, loaded: Any, step: int) -> Batch:
        """From what the loader gives; what is random in it is keyed by the recipe's seed and the step."""

    @abstractmethod
    def evaluate(self, run: Any) -> dict[str, float]:
        """Figures on held-out data; `run` is the model or an engine of :meth:`export`, called with arrays by name."""

    @abstractmethod
    def export(self, **quantized: Any) -> Model:
        """The trained model with free batch, for :func:`lowp.compile`; `quantized`: see :func:`lowp.nn.to_model`."""

    @abstractmethod
    def calibration(self, count: int) -> Iterable[dict[str, Array]]:
        """Inputs of the exported model from the training data."""


class Runner:
    """Calls a module, or an engine made of it, with arrays by name, and gives outputs by name."""

    def __init__(self, target: Module | Engine) -> None:
        self._target = target

    def __call__(self, inputs: dict[str, Array], names: tuple[str, ...]) -> dict[str, Array]:
        """`names` are those of the outputs, in order."""
        if isinstance(self._target, Engine):
            results = self._target.run(inputs)
            return {n: results[n] for n in names}
        result = self._target(**inputs)
        return dict(zip(names, result if isinstance(result, tuple) else (result,), strict=True))


def slices(count: int, size: int) -> Iterator[slice]:
    """[0, count) in parts of `size`."""
    return (slice(i, min(i + size, count)) for i in range(0, count, size))
