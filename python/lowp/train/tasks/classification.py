"""Images to classes: a ResNet on Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lowp import data, errors, metrics, nn
from lowp._model import Model
from lowp.data import Loader
from lowp.nn import Module, Tensor
from lowp.nn import functional as F  # noqa: N812 - the usual name
from lowp.train.models.resnet import BasicBlock, Bottleneck, ResNet
from lowp.train.recipe import Recipe
from lowp.train.tasks.task import Array, Batch, Engines, Runner, Task, slices

# Mean and standard deviation of the training images.
_MEAN, _STD = np.float32(0.2860), np.float32(0.3530)
_BLOCKS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    "small": (BasicBlock, (1, 1, 1)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}


class Classification(Task):
    """[model] options: depth (small, resnet18, resnet50), width (of the first stage), flip (random mirroring)."""

    metric = "accuracy"

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe, ("fashion_mnist",))
        options = recipe.check_options({"depth": str, "width": int, "flip": bool})
        depth = options.get("depth", "small")
        if depth not in _BLOCKS:
            raise errors.InvalidArgument(f"'{recipe.path}': model.depth is '{depth}'; {', '.join(_BLOCKS)} are known")
        self._flip = options.get("flip", True)
        block, layers = _BLOCKS[depth]
        self.model = ResNet(block, layers, 10, 1, options.get("width", 16), small=True)
        self._train = data.fashion_mnist(True, recipe.data.folder)
        self._test = data.fashion_mnist(False, recipe.data.folder)

    def loss(self, outputs: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        """Cross-entropy."""
        return F.cross_entropy(outputs, label, label_smoothing=self.recipe.train.label_smoothing)

    def loader(self, rank: int = 0, ranks: int = 1) -> Loader:
        """In another order each epoch; incomplete batches are left out."""
        return self._loader(self._train, rank, ranks)

    def batch(self, loaded: Any, step: int) -> Batch:
        """Normalized, and half of the images mirrored where the recipe says so."""
        x = (loaded["x"] - _MEAN) / _STD
        if self._flip:
            generator = np.random.Generator(np.random.Philox(key=[self.recipe.train.seed, step]))
            mirrored = generator.random(len(x)) < 0.5
            x[mirrored] = x[mirrored][..., ::-1]
        return Batch({"x": np.ascontiguousarray(x)}, {"label": loaded["label"]})

    def evaluate(self, run: Module | Engines) -> dict[str, float]:
        """Top-1 accuracy on the 10,000 test images."""
        runner, right = Runner(run), 0.0
        x, labels = self._test.arrays["x"], self._test.arrays["label"]
        for part in slices(len(x), 500):
            scores = runner({"x": (x[part] - _MEAN) / _STD}, ("output",))["output"]
            right += metrics.accuracy(scores, labels[part]) * len(scores)
        return {"accuracy": right / len(x)}

    def export(self, **quantized: Any) -> dict[str, Model]:
        """x [N, 1, 28, 28] to output [N, 10]."""
        return {"model": nn.to_model(self.model, {"x": np.zeros((1, 1, 28, 28), np.float32)}, **quantized)}

    def calibration(self, name: str, count: int) -> Iterable[dict[str, Array]]:
        """The first training images."""
        for i in range(min(count, len(self._train))):
            yield {"x": (self._train.arrays["x"][i : i + 1] - _MEAN) / _STD}
