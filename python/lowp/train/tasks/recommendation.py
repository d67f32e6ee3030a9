"""Users and films: NeuMF on MovieLens-100k by the protocol of He et al. 2017."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lowp import data, metrics, nn
from lowp._model import Model
from lowp.data import Loader
from lowp.nn import Module, Tensor
from lowp.nn import functional as F  # noqa: N812 - the usual name
from lowp.train.models.ncf import NeuMF
from lowp.train.recipe import Recipe
from lowp.train.tasks.task import Array, Batch, Engines, Runner, Task


class Recommendation(Task):
    """[model] options: factors (of the product), width (of the network's first layer)."""

    metric = "hit_rate"

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe, ("movielens_100k",))
        options = recipe.check_options({"factors": int, "width": int})
        seed = recipe.train.seed
        self._data = data.LeaveOneOut(data.movielens_100k(), recipe.data.negatives, seed=seed)
        width = options.get("width", 64)
        layers = (width, width // 2, width // 4, width // 8)
        self.model = NeuMF(self._data.users, self._data.items, options.get("factors", 8), layers)

    def loss(self, outputs: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        """Binary cross-entropy."""
        return F.binary_cross_entropy_with_logits(outputs, label)

    def loader(self, rank: int = 0, ranks: int = 1) -> Loader:
        """Positives and negatives, the latter drawn anew each epoch."""
        return self._loader(self._data.train, rank, ranks)

    def batch(self, loaded: Any, step: int) -> Batch:
        """As it is."""
        return Batch({"user": loaded["user"], "item": loaded["item"]}, {"label": loaded["label"]})

    def evaluate(self, run: Module | Engines) -> dict[str, float]:
        """HR@10 and NDCG@10 of each user's last film among 99 untouched ones."""
        users, items = self._data.test.arrays["user"], self._data.test.arrays["items"]
        flat = {"user": np.repeat(users, items.shape[1]), "item": np.ascontiguousarray(items.reshape(-1))}
        scores = Runner(run)(flat, ("output",))["output"].reshape(items.shape)
        return {"hit_rate": metrics.hit_rate(scores, 10), "ndcg": metrics.ndcg(scores, 10)}

    def export(self, **quantized: Any) -> dict[str, Model]:
        """user and item i64 [N] to output f32 [N]."""
        example = {name: np.zeros(1, np.int64) for name in ("user", "item")}
        return {"model": nn.to_model(self.model, example, **quantized)}

    def calibration(self, name: str, count: int) -> Iterable[dict[str, Array]]:
        """Batches of 128 pairs of the first epoch, in its order."""
        pairs = self._data.train.for_epoch(0)
        order = np.random.Generator(np.random.Philox(0)).permutation(len(pairs))
        for i in range(count):
            part = pairs.take(order[i * 128 : (i + 1) * 128])
            yield {"user": part["user"], "item": part["item"]}
