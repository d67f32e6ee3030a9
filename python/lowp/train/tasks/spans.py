"""Questions and texts to answers: BERT with a span head, from packaged MiniLM weights or from nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lowp import data, errors, metrics, nn, zoo
from lowp._model import Model
from lowp.data import Loader, SpanFeatures
from lowp.nn import Module, Tensor
from lowp.train.models.bert import BertConfig, BertForSpans, span_loss
from lowp.train.recipe import Recipe
from lowp.train.tasks.task import Array, Batch, Engines, Runner, Task, slices

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Spans(Task):
    """[model] options: weights ("minilm" or "none"), layers, hidden, heads, length (tokens of a window), dropout."""

    metric = "f1"

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe, ("generated_questions", "squad"))
        options = recipe.check_options(
            {"weights": str, "layers": int, "hidden": int, "heads": int, "length": int, "dropout": float}
        )
        weights = options.get("weights", "minilm")
        if weights not in ("minilm", "none"):
            raise errors.InvalidArgument(f"'{recipe.path}': model.weights is '{weights}'; minilm or none is wanted")
        self._tokenizer = zoo.minilm_vocabulary()
        hidden = 384 if weights == "minilm" else options.get("hidden", 128)
        config = BertConfig(
            vocabulary=self._tokenizer.get_vocab_size(),
            hidden=hidden,
            layers=options.get("layers", 6 if weights == "minilm" else 2),
            heads=options.get("heads", 12 if weights == "minilm" else 2),
            intermediate=4 * hidden,
            dropout=float(options.get("dropout", 0.1)),
        )
        self.model = BertForSpans(config)
        if weights == "minilm":
            own = dict(self.model.bert.named_states())
            state = {n: a for n, a in zoo.minilm_weights().items() if n in own}
            self.model.bert.load_state_dict(state)
        self._length = options.get("length", 128)
        train, test = self._questions()
        stride = min(recipe.data.doc_stride, self._length - 24 - 3)
        self._train = SpanFeatures(train, self._tokenizer, self._length, stride, 24)
        self._test = SpanFeatures(test, self._tokenizer, self._length, stride, 24)

    def _questions(self) -> tuple[list[data.Question], list[data.Question]]:
        """Training and held-out questions, of different texts."""
        d = self.recipe.data
        if d.name == "generated_questions":
            held_out = max(int(d.samples * d.validation), 1)
            return data.generated_questions(d.samples), data.generated_questions(held_out, start=d.samples)
        assert d.file is not None
        questions = data.read_squad(d.file)
        texts = sorted({q.context for q in questions})
        order = np.random.Generator(np.random.Philox(self.recipe.train.seed)).permutation(len(texts))
        held = {texts[i] for i in order[: max(int(len(texts) * d.validation), 1)]}
        return [q for q in questions if q.context not in held], [q for q in questions if q.context in held]

    def loss(self, outputs: Any, start: Tensor, end: Tensor) -> Tensor:  # type: ignore[override]
        """Mean cross-entropy of both positions."""
        return span_loss(outputs, start, end)

    def loader(self, rank: int = 0, ranks: int = 1) -> Loader:
        """Windows in another order each epoch."""
        return self._loader(self._train, rank, ranks)

    def batch(self, loaded: Any, step: int) -> Batch:
        """By name."""
        return Batch({n: loaded[n] for n in _INPUTS}, {n: loaded[n] for n in ("start", "end")})

    def evaluate(self, run: Module | Engines) -> dict[str, float]:
        """Exact match and F1 on the held-out questions."""
        runner = Runner(run)
        scores: dict[str, list[Array]] = {"start": [], "end": []}
        for part in slices(len(self._test), 32):
            arrays = self._test.take(np.arange(part.start, part.stop))
            for name, values in runner({n: arrays[n] for n in _INPUTS}, ("start", "end")).items():
                scores[name].append(values)
        found = self._test.answers(np.concatenate(scores["start"]), np.concatenate(scores["end"]))
        right = {q.id: [a.text for a in q.answers] for q in self._test.questions}
        return {"f1": metrics.f1(found, right), "exact_match": metrics.exact_match(found, right)}

    def export(self, **quantized: Any) -> dict[str, Model]:
        """Tokens [N, length] to start and end [N, length]."""
        example = {n: np.zeros((1, self._length), np.int64) for n in _INPUTS}
        return {"model": nn.to_model(self.model, example, **quantized)}

    def save_vocabulary(self, folder: Path) -> Path:
        """tokenizer.json, in the form of the package tokenizers."""
        path = folder / "tokenizer.json"
        self._tokenizer.save(str(path))
        return path

    def calibration(self, name: str, count: int) -> Iterable[dict[str, Array]]:
        """The first windows to train on."""
        for i in range(min(count, len(self._train))):
            arrays = self._train.take(np.array([i]))
            yield {n: arrays[n] for n in _INPUTS}
