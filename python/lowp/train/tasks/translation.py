"""English to German: GNMT on Multi30k, or on generated pairs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowp import data, errors, metrics, nn
from lowp._model import Model
from lowp.data import Loader, Subwords, TranslationDataset
from lowp.nn import Module, Tensor
from lowp.train.models.gnmt import (
    DeployedGnmt,
    Gnmt,
    GnmtConfig,
    padded_source,
    padding_mask,
    translate,
    translation_loss,
)
from lowp.train.recipe import Recipe
from lowp.train.tasks.task import Array, Batch, Engines, Task


class Translation(Task):
    """[model] options: hidden, layers (each of encoder and decoder), dropout, beams, test_sentences (evaluated on)."""

    metric = "bleu"

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe, ("multi30k", "generated_pairs"))
        options = recipe.check_options(
            {"hidden": int, "layers": int, "dropout": float, "beams": int, "test_sentences": int}
        )
        d = recipe.data
        if d.name == "multi30k":
            assert d.folder is not None
            train, test = data.multi30k(d.folder, "train"), data.multi30k(d.folder, "val")
        else:
            held_out = max(int(d.samples * d.validation), 1)
            train, test = data.generated_pairs(d.samples), data.generated_pairs(held_out, start=d.samples)
        self._words = Subwords.train((s for pair in train for s in pair), d.vocabulary)
        self.held_out = test[: options.get("test_sentences", 200)]
        self._train = TranslationDataset(train, self._words, self._words, d.max_length)
        layers = options.get("layers", 2)
        self.model = Gnmt(
            GnmtConfig(
                vocabulary=len(self._words),
                hidden=options.get("hidden", 128),
                encoder_layers=layers,
                decoder_layers=layers,
                dropout=float(options.get("dropout", 0.2)),
            )
        )
        self._beams = options.get("beams", 5)

    def loss(self, outputs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:  # type: ignore[override]
        """Cross-entropy a token, with label smoothing."""
        return translation_loss(outputs, labels, weights, self.recipe.train.label_smoothing)

    def loader(self, rank: int = 0, ranks: int = 1) -> Loader:
        """Sentences of like length together."""
        return self._loader(self._train, rank, ranks, collate=self._train.collate, lengths=self._train.lengths)

    def batch(self, loaded: Any, step: int) -> Batch:
        """Time first, as LSTMs want it."""
        source, lengths = loaded["source"], loaded["source_length"].astype(np.int32)
        labels = np.ascontiguousarray(loaded["target_out"].T)
        weights = (labels != 0).astype(np.float32)
        h, c = self.model.initial_states(len(lengths))
        inputs = {
            "source": np.ascontiguousarray(source.T),
            "lengths": lengths,
            "mask": padding_mask(lengths, source.shape[1]),
            "target": np.ascontiguousarray(loaded["target_in"].T),
            "h": h,
            "c": c,
        }
        return Batch(inputs, {"labels": labels, "weights": weights / weights.sum()})

    def evaluate(self, run: Module | Engines) -> dict[str, float]:
        """BLEU of beam search on held-out sentences."""
        return {"bleu": self.bleu(run, self.held_out)}

    def bleu(self, run: Module | Engines, pairs: Sequence[tuple[str, str]]) -> float:
        """Of beam search on other sentences."""
        model = self.model if isinstance(run, Module) else DeployedGnmt(run["encoder"], run["decoder"])
        sources = self._words.encode([s for s, _ in pairs])
        found = [
            self._words.decode(translate(model, s, data.BEGIN, data.END, beams=self._beams, longest=2 * len(s) + 10))
            for s in sources
        ]
        return metrics.bleu(found, [t for _, t in pairs])

    def export(self, **quantized: Any) -> dict[str, Model]:
        """encoder: source i64 [S, N] and lengths i32 [N] to memory [S, N, hidden]. decoder, a step: tokens i64 [1, N],
        memory, mask [N, S] and states to scores, states and weights."""
        if quantized:
            raise errors.Unsupported("[qat]: encoder and decoder are exported apart, and recurrences are not rounded")
        c = self.model.config
        encoder = nn.to_model(
            self.model.encoder,
            {"source": np.zeros((8, 1), np.int64), "lengths": np.full(1, 8, np.int32)},
            free={"source": ["S", "N"], "lengths": ["N"]},
        )
        example = {
            "tokens": np.zeros((1, 1), np.int64),
            "memory": np.zeros((8, 1, c.hidden), np.float32),
            "mask": np.zeros((1, 8), np.float32),
            "h": np.zeros((c.decoder_layers, 1, c.hidden), np.float32),
            "c": np.zeros((c.decoder_layers, 1, c.hidden), np.float32),
        }
        free = {
            "tokens": [1, "N"],
            "memory": ["S", "N", c.hidden],
            "mask": ["N", "S"],
            "h": [c.decoder_layers, "N", c.hidden],
            "c": [c.decoder_layers, "N", c.hidden],
        }
        return {"encoder": encoder, "decoder": nn.to_model(self.model.decoder, example, free=free)}

    def save_vocabulary(self, folder: Path) -> Path:
        """subwords.json, for :meth:`lowp.data.Subwords.load`."""
        path = folder / "subwords.json"
        self._words.save(path)
        return path

    def calibration(self, name: str, count: int) -> Iterable[dict[str, Array]]:
        """Training sentences for the encoder; for the decoder its inputs as translating them meets them."""
        return itertools.islice(self._sentences() if name == "encoder" else self._decoder_steps(), count)

    def _sentences(self) -> Iterator[dict[str, Array]]:
        for sample in self._train:
            source, lengths = padded_source(sample["source"], data.END)
            yield {"source": source, "lengths": lengths}

    def _decoder_steps(self) -> Iterator[dict[str, Array]]:
        for sentence, sample in zip(self._sentences(), self._train, strict=True):
            memory = self.model.encoder(**sentence)
            mask = padding_mask(sentence["lengths"], len(memory))
            h, c = self.model.initial_states(1)
            for token in sample["target"][:-1]:
                feed = {"tokens": np.asarray([[token]]), "memory": memory, "mask": mask, "h": h, "c": c}
                yield feed
                _, h, c, _ = self.model.decoder(**feed)
