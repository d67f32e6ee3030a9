"""The contract of a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowp import errors
from lowp._engine import Engine
from lowp._model import Model
from lowp.data import Loader
from lowp.nn import Module, Tensor
from lowp.train.recipe import Recipe

Array = np.ndarray[Any, Any]
Engines = Mapping[str, Engine]


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
    def evaluate(self, run: Module | Engines) -> dict[str, float]:
        """Figures on held-out data, computed by the model or by engines of what :meth:`export` gives."""

    @abstractmethod
    def export(self, **quantized: Any) -> dict[str, Model]:
        """What is deployed, by name ("model" where it is one), with free batch, for :func:`lowp.compile`; `quantized`:
        see :func:`lowp.nn.to_model`."""

    @abstractmethod
    def calibration(self, name: str, count: int) -> Iterable[dict[str, Array]]:
        """Inputs of what :meth:`export` gives by this name, from the training data."""

    def save_vocabulary(self, folder: Path) -> Path | None:
        """Writes what turns text into the engines' inputs; None where they take no text."""
        return None

    def _loader(self, dataset: Any, rank: int, ranks: int, **options: Any) -> Loader:
        """By the recipe; incomplete batches are left out."""
        r = self.recipe
        return Loader(
            dataset,
            r.train.batch_size,
            seed=r.train.seed,
            drop_last=True,
            prefetch=r.data.prefetch,
            rank=rank,
            ranks=ranks,
            **options,
        )


class Runner:
    """Calls a module, or the one engine made of it, with arrays by name, and gives outputs by name."""

    def __init__(self, target: Module | Engines) -> None:
        self._target = target if isinstance(target, Module) else target["model"]

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
