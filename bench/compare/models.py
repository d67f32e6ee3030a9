"""The models that are compared, and inputs for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowp import zoo

Array = np.ndarray[Any, Any]
Feed = dict[str, Array]


@dataclass(frozen=True)
class Model:
    """One model at the sizes that are measured. `kind` tells the peers' quantizers what they want to know."""

    name: str
    title: str
    kind: str  # "convolution", "transformer", "recurrent", "dense"
    write: Callable[[], Path]
    feed: Callable[[int, np.random.Generator], Feed]
    batches: tuple[int, ...] = (1, 8)


def _images(batch: int, rng: np.random.Generator) -> Feed:
    return {"x": rng.standard_normal((batch, 3, 224, 224), np.float32)}


def _tokens(length: int) -> Callable[[int, np.random.Generator], Feed]:
    def feed(batch: int, rng: np.random.Generator) -> Feed:
        shape = (batch, length)
        return {
            "input_ids": rng.integers(0, 30_000, shape),
            "attention_mask": np.ones(shape, np.int64),
            "token_type_ids": np.zeros(shape, np.int64),
        }

    return feed


def _pairs(batch: int, rng: np.random.Generator) -> Feed:
    return {"user": rng.integers(0, 138_493, 1024 * batch), "item": rng.integers(0, 26_744, 1024 * batch)}


def _sentence(batch: int, rng: np.random.Generator) -> Feed:
    return {"tokens": rng.integers(0, 32_000, (25, batch))}


def _word(batch: int, rng: np.random.Generator) -> Feed:
    # LSTM outputs lie between -1 and 1, so do states and what is made of them.
    def state(*shape: int) -> Array:
        return np.tanh(0.5 * rng.standard_normal(shape, np.float32))

    return {
        "token": rng.integers(0, 32_000, batch),
        "memory": state(25, batch, 1024),
        "h": state(4, batch, 1024),
        "c": state(4, batch, 1024),
        "context": state(batch, 1024),
    }


MODELS: dict[str, Model] = {
    m.name: m
    for m in (
        Model("resnet50", "ResNet-50", "convolution", zoo.resnet50, _images),
        Model("bert_base", "BERT-base, 128 tokens", "transformer", zoo.bert_base, _tokens(128)),
        Model("ncf", "NCF, 1,024 pairs", "dense", zoo.ncf, _pairs),
        Model("gnmt_encoder", "GNMT encoder, 25 tokens", "recurrent", zoo.gnmt_encoder, _sentence),
        Model("gnmt_decoder_step", "GNMT decoder step", "recurrent", zoo.gnmt_decoder_step, _word),
        Model("efficientnet_lite0", "EfficientNet-lite0", "convolution", zoo.efficientnet_lite0, _images),
        Model("minilm", "MiniLM, 32 tokens", "transformer", zoo.minilm, _tokens(32)),
    )
}
CALIBRATION_SAMPLES = 8


def calibration(model: Model) -> list[Feed]:
    """The samples that lowp and the peers are calibrated with; batch 1."""
    return [model.feed(1, np.random.default_rng(1000 + i)) for i in range(CALIBRATION_SAMPLES)]
