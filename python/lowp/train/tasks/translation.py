"""English to German: GNMT on Multi30k, or on generated pairs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lowp import data, errors, metrics, nn
from lowp._engine import Engine
from lowp._model import Model
from lowp.data import Loader, Subwords, TranslationDataset
from lowp.nn import Tensor
from lowp.train.models.gnmt import Gnmt, GnmtConfig, padding_mask, translate, translation_loss
from lowp.train.recipe import Recipe
from lowp.train.tasks.task import Array, Batch, Task

_BEGIN, _END = 1, 2


class _Deployed:
    """The model with its decoder's step computed by an engine."""

    def __init__(self, model: Gnmt, engine: Engine) -> None:
        self.encoder, self.initial_states, self._engine = model.encoder, model.initial_states, engine

    def decoder(self, tokens: Array, memory: Array, mask: Array, h: Array, c: Array) -> tuple[Array, ...]:
        """As Decoder.forward()."""
        return tuple(self._engine.run({"tokens": tokens, "memory": memory, "mask": mask, "h": h, "c": c}).values())


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
        self._test = test[: options.get("test_sentences", 200)]
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
        train = self.recipe.train
        return Loader(
            self._train,
            train.batch_size,
            seed=train.seed,
            drop_last=True,
            collate=self._train.collate,
            lengths=self._train.lengths,
            prefetch=self.recipe.data.prefetch,
            rank=rank,
            ranks=ranks,
        )

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

    def evaluate(self, run: Any) -> dict[str, float]:
        """BLEU of beam search on held-out sentences."""
        if isinstance(run, Engine):
            run = _Deployed(self.model, run)
        sources = self._words.encode([s for s, _ in self._test])
        found = [
            self._words.decode(translate(run, s, _BEGIN, _END, beams=self._beams, longest=2 * len(s) + 10))
            for s in sources
        ]
        return {"bleu": metrics.bleu(found, [t for _, t in self._test])}

    def export(self, **quantized: Any) -> Model:
        """The decoder's step: tokens [1, N], memory [S, N, hidden], mask [N, S] and states."""
        if quantized:
            raise errors.Unsupported("[qat]: the decoder alone is exported, recurrences are not rounded in training")
        c = self.model.config
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
        return nn.to_model(self.model.decoder, example, free=free)

    def calibration(self, count: int) -> Iterable[dict[str, Array]]:
        """The decoder's inputs as greedy decoding of training sentences meets them."""
        given = 0
        for sample in self._train:
            source = sample["source"]
            steps = -(-len(source) // 8) * 8
            tokens = np.full((steps, 1), _END, np.int64)
            tokens[: len(source), 0] = source
            lengths = np.asarray([len(source)], np.int32)
            memory, mask = self.model.encoder(tokens, lengths), padding_mask(lengths, steps)
            h, c = self.model.initial_states(1)
            for token in sample["target"][:-1]:
                feed = {"tokens": np.asarray([[token]]), "memory": memory, "mask": mask, "h": h, "c": c}
                yield feed
                given += 1
                if given == count:
                    return
                _, h, c, _ = self.model.decoder(**feed)
