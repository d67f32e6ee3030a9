"""What a recipe trains: a task joins a model with its data, loss and metrics. One file a task, one line below."""

from __future__ import annotations

from collections.abc import Callable

from lowp import errors
from lowp.train.recipe import Recipe
from lowp.train.tasks.classification import Classification
from lowp.train.tasks.recommendation import Recommendation
from lowp.train.tasks.spans import Spans
from lowp.train.tasks.task import Batch, Task
from lowp.train.tasks.translation import Translation

_TASKS: dict[str, Callable[[Recipe], Task]] = {
    "resnet": Classification,
    "bert_spans": Spans,
    "gnmt": Translation,
    "neumf": Recommendation,
}


def make_task(recipe: Recipe) -> Task:
    """The task of the recipe's model, with its data read.

    Raises:
        InvalidArgument: there is no such model, or it does not go with the data.
    """
    if recipe.model.name not in _TASKS:
        raise errors.InvalidArgument(f"there is no model '{recipe.model.name}'; there are {', '.join(_TASKS)}")
    return _TASKS[recipe.model.name](recipe)


__all__ = ["Batch", "Task", "make_task"]
