"""Training steps in TensorFlow (Keras), for versus_peers.py; bench/setup_tensorflow.sh makes their venv.

The networks are those of torch_steps.py, in Keras' own layers and with its channels-last images; a step is
`train_on_batch`, compiled as a graph, by XLA where asked for: which of them is faster depends on the network.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

Case = tuple[Any, Any, Any]  # network, inputs, labels
_RNG = np.random.default_rng(0)


def _normal(*shape: int) -> Any:
    return _RNG.standard_normal(shape).astype(np.float32)


def _conv(x: Any, width: int, kernel: int, stride: int, relu: bool) -> Any:
    x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(epsilon=1e-5)(x)
    return layers.ReLU()(x) if relu else x


def resnet50() -> Case:
    """v1.5: a bottleneck's stride is in its 3x3 convolution."""
    image = keras.Input((224, 224, 3))
    x = layers.MaxPooling2D(3, 2, padding="same")(_conv(image, 64, 7, 2, True))
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = _conv(_conv(x, width, 1, 1, True), width, 3, stride, True)
            y = _conv(y, 4 * width, 1, 1, False)
            x = layers.ReLU()(y + (x if block else _conv(x, 4 * width, 1, stride, False)))
    scores = layers.Dense(1000)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, scores), _normal(8, 224, 224, 3), _RNG.integers(0, 1000, 8)


def _transformer(x: Any, count: int) -> Any:
    """Layers of BERT-base, normalized after the sum, and two scores a word."""
    for _ in range(count):
        x = layers.LayerNormalization(epsilon=1e-5)(x + layers.MultiHeadAttention(12, 64)(x, x))
        y = layers.Dense(768)(layers.Dense(3072, activation="gelu")(x))
        x = layers.LayerNormalization(epsilon=1e-5)(x + y)
    return layers.Dense(2)(x)


def bert4() -> Case:
    """Four layers."""
    words = keras.Input((128, 768))
    return keras.Model(words, _transformer(words, 4)), _normal(4, 128, 768), _RNG.integers(0, 2, (4, 128))


def bert_base() -> Case:
    """Words and twelve layers."""
    words = keras.Input((128,), dtype="int32")
    network = keras.Model(words, _transformer(layers.Embedding(30522, 768)(words), 12))
    return network, _RNG.integers(0, 30522, (4, 128)).astype(np.int32), _RNG.integers(0, 2, (4, 128))


def ncf() -> Case:
    """NeuMF with MovieLens-1M's sizes."""
    user, item = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
    factors = layers.Embedding(6040, 64)(user) * layers.Embedding(3706, 64)(item)
    x = layers.Concatenate()([layers.Embedding(6040, 128)(user), layers.Embedding(3706, 128)(item)])
    for width in (256, 128, 64):
        x = layers.Dense(width, activation="relu")(x)
    scores = layers.Dense(2)(layers.Concatenate()([factors, x]))
    pairs = [_RNG.integers(0, 6040, 4096).astype(np.int32), _RNG.integers(0, 3706, 4096).astype(np.int32)]
    return keras.Model([user, item], scores), pairs, _RNG.integers(0, 2, 4096)


def lstm() -> Case:
    """Two layers and a classifier for each step."""
    steps = keras.Input((25, 512))
    x = layers.LSTM(512, return_sequences=True)(layers.LSTM(512, return_sequences=True)(steps))
    return keras.Model(steps, layers.Dense(1000)(x)), _normal(32, 25, 512), _RNG.integers(0, 1000, (32, 25))


CASES: dict[str, Callable[[], Case]] = {f.__name__: f for f in (resnet50, bert4, bert_base, ncf, lstm)}


def stepper(case: Case, xla: bool) -> Callable[[], Any]:
    """Takes a step at each call; the first two trace and compile."""
    network, inputs, labels = case
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, jit_compile=xla)
    return lambda: network.train_on_batch(inputs, labels)
