"""Four small models whose loss curves lowp and PyTorch are compared by: their structure, first weights and batches.

Nothing here needs more than numpy, so that bench/training/torch_losses.py (in PyTorch's venv) and lowp's test import
the same. Weights and batches are functions of names and numbers, by the raw output of Philox, which numpy keeps the
same between versions. Parameters are called as in the state_dict of the PyTorch model of torch_losses.py.

What the models compute is written above each list of parameters; x @ W.T is a product with a weight [out, in].
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
STEPS = 50
# Batches repeat after so many steps, so that there is something to learn.
BATCHES = 8


def bits(name: str, count: int, counter: int = 0) -> Array:
    """uint64 [count]: random bits of a name and a counter."""
    key = np.array([20260101, zlib.crc32(name.encode())], np.uint64)
    return np.random.Philox(key=key, counter=np.array([0, 0, 0, counter], np.uint64)).random_raw(count)


def uniform(name: str, shape: tuple[int, ...], bound: float, counter: int = 0) -> Array:
    """float32: uniform in [-bound, bound) in steps of bound / 2^23."""
    integers = (bits(name, int(np.prod(shape)), counter) >> np.uint64(40)).astype(np.float32)
    return ((integers / np.float32(2**23) - 1) * np.float32(bound)).reshape(shape)


def integers(name: str, shape: tuple[int, ...], low: int, high: int, counter: int = 0) -> Array:
    """int64 in low .. high-1."""
    drawn = bits(name, int(np.prod(shape)), counter) % np.uint64(high - low)
    return drawn.astype(np.int64).reshape(shape) + low


@dataclass(frozen=True)
class Parameter:
    """A weight: uniform in +-gain / sqrt(fan in) with fan in = elements / rows, or all 0 or 1."""

    name: str
    shape: tuple[int, ...]
    init: Literal["uniform", "zeros", "ones"] = "uniform"
    gain: float = 1.0

    def first_value(self) -> Array:
        """float32 of `shape`."""
        if self.init != "uniform":
            return np.full(self.shape, float(self.init == "ones"), np.float32)
        return uniform(self.name, self.shape, self.gain / (np.prod(self.shape[1:]) ** 0.5))


@dataclass(frozen=True)
class LossModel:
    """A model to train for STEPS steps.

    `optimizer` holds the arguments of PyTorch's optimizer of its `name`; every parameter is trained, with weight decay
    where there is one. `batch(step)` gives its inputs and labels by name.
    """

    name: str
    config: Mapping[str, Any]
    parameters: tuple[Parameter, ...]
    optimizer: Mapping[str, Any]
    make_batch: Callable[[int], dict[str, Array]]

    def weights(self) -> dict[str, Array]:
        """First values of the parameters by name."""
        return {p.name: p.first_value() for p in self.parameters}

    def batch(self, step: int) -> dict[str, Array]:
        """The batch of a step."""
        return self.make_batch(step % BATCHES)


def _norm(name: str, width: int) -> Iterator[Parameter]:
    yield Parameter(f"{name}.weight", (width,), "ones")
    yield Parameter(f"{name}.bias", (width,), "zeros")


def _dense(name: str, inputs: int, outputs: int, gain: float = 1.0) -> Iterator[Parameter]:
    yield Parameter(f"{name}.weight", (outputs, inputs), gain=gain)
    yield Parameter(f"{name}.bias", (outputs,), "zeros")


# ResNet v1.5 (He et al., https://arxiv.org/abs/1512.03385; the stride is the 3x3 convolution's).
# h = relu(bn1(conv1(x))), 3x3, stride 1; no pooling. A block: y = relu(bn1(conv1(h))), 1x1; y = relu(bn2(conv2(y))),
# 3x3 with the block's stride; y = bn3(conv3(y)), 1x1; h = relu(y + (downsample.1(downsample.0(h)) in a stage's first
# block, else h)). logits = fc(mean of h over the picture). Padding keeps the size of stride 1. No convolution has a
# bias. BatchNorm: batch statistics with the biased variance, epsilon 1e-5; running statistics start at 0 and 1 with
# momentum 0.1 (PyTorch's: the new one's weight) and take the unbiased variance. Loss: mean cross-entropy.
RESNET = {"classes": 10, "stem": 16, "widths": (16, 32, 64), "blocks": (2, 2, 2), "strides": (1, 2, 2), "expansion": 4}
_RESNET_BATCH = (16, 3, 32, 32)


def _resnet_parameters() -> Iterator[Parameter]:
    def conv(name: str, outputs: int, inputs: int, size: int) -> Parameter:
        return Parameter(f"{name}.weight", (outputs, inputs, size, size), gain=1.7)

    channels = RESNET["stem"]
    yield conv("conv1", channels, 3, 3)
    yield from _norm("bn1", channels)
    for stage, (width, blocks) in enumerate(zip(RESNET["widths"], RESNET["blocks"], strict=True), 1):
        for block in range(blocks):
            name, outputs = f"layer{stage}.{block}", width * RESNET["expansion"]
            yield conv(f"{name}.conv1", width, channels, 1)
            yield from _norm(f"{name}.bn1", width)
            yield conv(f"{name}.conv2", width, width, 3)
            yield from _norm(f"{name}.bn2", width)
            yield conv(f"{name}.conv3", outputs, width, 1)
            # Each block begins as the identity (Goyal et al., https://arxiv.org/abs/1706.02677). With 1 instead, FP32's
            # rounding grows to 2% of PyTorch's own loss within 50 steps, and comparing curves would say nothing.
            yield Parameter(f"{name}.bn3.weight", (outputs,), "zeros")
            yield Parameter(f"{name}.bn3.bias", (outputs,), "zeros")
            if block == 0:
                yield conv(f"{name}.downsample.0", outputs, channels, 1)
                yield from _norm(f"{name}.downsample.1", outputs)
            channels = outputs
    yield from _dense("fc", channels, RESNET["classes"])


def _resnet_batch(number: int) -> dict[str, Array]:
    """x float32 [16, 3, 32, 32], label int64 [16]: noise with a picture of the class added."""
    label = integers("resnet.label", _RESNET_BATCH[:1], 0, RESNET["classes"], number)
    classes = uniform("resnet.classes", (RESNET["classes"], *_RESNET_BATCH[1:]), 1.0)
    return {"x": uniform("resnet.x", _RESNET_BATCH, 1.0, number) + classes[label], "label": label}


# BERT with a span head (Devlin et al., https://arxiv.org/abs/1810.04805).
# h = LayerNorm(word[input_ids] + position[0..S-1] + token_type[token_type_ids]), epsilon 1e-12. A layer: heads of 32;
# scores = q k^T / sqrt(32), minus infinity where the attention mask is 0; h = LayerNorm(h + dense(softmax(scores)
# v)); then h = LayerNorm(h + dense(gelu(dense(h)))) with the exact gelu (erf). start, end = the two columns of
# qa_outputs(h). No dropout. Loss: (cross-entropy of start over the S places + that of end) / 2, means over the batch;
# padded places are not masked.
BERT = {"words": 500, "hidden": 128, "layers": 2, "heads": 4, "inner": 512, "length": 64, "types": 2}
_BERT_BATCH = 8


def _bert_parameters() -> Iterator[Parameter]:
    width, inner = BERT["hidden"], BERT["inner"]
    for name, rows in (("word", "words"), ("position", "length"), ("token_type", "types")):
        yield Parameter(f"embeddings.{name}_embeddings.weight", (BERT[rows], width), gain=0.4)
    yield from _norm("embeddings.LayerNorm", width)
    for layer in range(BERT["layers"]):
        name = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            yield from _dense(f"{name}.attention.self.{part}", width, width)
        yield from _dense(f"{name}.attention.output.dense", width, width)
        yield from _norm(f"{name}.attention.output.LayerNorm", width)
        yield from _dense(f"{name}.intermediate.dense", width, inner)
        yield from _dense(f"{name}.output.dense", inner, width)
        yield from _norm(f"{name}.output.LayerNorm", width)
    yield from _dense("qa_outputs", width, 2)


def _bert_batch(number: int) -> dict[str, Array]:
    """input_ids, token_type_ids, attention_mask int64 [8, 64]; start, end int64 [8]. Words 1 and 2 mark the span."""
    shape = (_BERT_BATCH, BERT["length"])
    ids = integers("bert.ids", shape, 3, BERT["words"], number)
    length = integers("bert.length", shape[:1], 40, BERT["length"] + 1, number)
    start = integers("bert.start", shape[:1], 12, 30, number)
    end = start + integers("bert.span", shape[:1], 1, 9, number)
    rows, places = np.arange(_BERT_BATCH), np.arange(BERT["length"])
    ids[rows, start], ids[rows, end] = 1, 2
    mask = (places < length[:, None]).astype(np.int64)
    types = (places >= 12).astype(np.int64) * mask
    return {"input_ids": ids * mask, "token_type_ids": types, "attention_mask": mask, "start": start, "end": end}


# GNMT (Wu et al., https://arxiv.org/abs/1609.08144), the whole target read at once.
# LSTM gates i, f, g, o in this order, both biases added; states start at 0. Encoder: embedding; layer 0 in both
# directions (outputs side by side); layer 1 over that. Decoder: q = LSTM 0 over the target's embedding; scores[t, s]
# = attention.v . tanh(q[t] @ attention.query.weight.T + memory[s] @ attention.key.weight.T); context = softmax over s
# of the scores @ memory; LSTM 1 over q and context side by side; logits = classifier of it. Nothing is masked: all
# sources have the same length. Loss: mean cross-entropy over the target words that are not 0.
GNMT = {"words": 200, "hidden": 64, "source_length": 16, "target_length": 14}
_GNMT_BATCH = 16


def _lstm(name: str, inputs: int, hidden: int, suffix: str = "") -> Iterator[Parameter]:
    scale = hidden**-0.5  # PyTorch's bound, whatever the fan in
    yield Parameter(f"{name}.weight_ih_l0{suffix}", (4 * hidden, inputs), gain=scale * inputs**0.5)
    yield Parameter(f"{name}.weight_hh_l0{suffix}", (4 * hidden, hidden))
    for bias in ("bias_ih_l0", "bias_hh_l0"):
        yield Parameter(f"{name}.{bias}{suffix}", (4 * hidden,), gain=scale)


def _gnmt_parameters() -> Iterator[Parameter]:
    words, hidden = GNMT["words"], GNMT["hidden"]
    yield Parameter("encoder.embedding.weight", (words, hidden), gain=4.0)
    yield from _lstm("encoder.layer0", hidden, hidden)
    yield from _lstm("encoder.layer0", hidden, hidden, "_reverse")
    yield from _lstm("encoder.layer1", 2 * hidden, hidden)
    yield Parameter("decoder.embedding.weight", (words, hidden), gain=4.0)
    yield from _lstm("decoder.layer0", hidden, hidden)
    yield Parameter("decoder.attention.query.weight", (hidden, hidden))
    yield Parameter("decoder.attention.key.weight", (hidden, hidden))
    yield Parameter("decoder.attention.v", (1, hidden), gain=4.0)
    yield from _lstm("decoder.layer1", 2 * hidden, hidden)
    yield from _dense("decoder.classifier", hidden, words)


def _gnmt_batch(number: int) -> dict[str, Array]:
    """source int64 [16, 16]; target_in, target_out int64 [16, 14], padded with 0: the source backwards."""
    source = integers("gnmt.source", (_GNMT_BATCH, GNMT["source_length"]), 3, GNMT["words"], number)
    length = integers("gnmt.length", (_GNMT_BATCH,), 6, GNMT["target_length"], number)
    places = np.arange(GNMT["target_length"])
    words = np.where(places < length[:, None], source[:, ::-1][:, : GNMT["target_length"]], 0)
    target_out = np.where(places == length[:, None], 2, words)  # 2 ends, 1 begins
    target_in = np.concatenate([np.ones((_GNMT_BATCH, 1), np.int64), words[:, :-1]], 1)
    return {"source": source, "target_in": target_in, "target_out": target_out}


# NeuMF (He et al., https://arxiv.org/abs/1708.05031).
# a = mf_user[user] * mf_item[item]; b = mlp_user[user] and mlp_item[item] side by side, then relu(mlp.i(b)) for each
# i; score = final(a and b side by side). Loss: mean binary cross-entropy of sigmoid(score) against label. Adam is
# dense: rows that a batch does not name have gradient 0, and still move by their momentum.
NEUMF = {"users": 200, "items": 300, "factors": 16, "layers": (64, 64, 32, 16)}
_NEUMF_BATCH = 256


def _neumf_parameters() -> Iterator[Parameter]:
    for part, width in (("mf", NEUMF["factors"]), ("mlp", NEUMF["layers"][0] // 2)):
        for side in ("user", "item"):
            yield Parameter(f"{part}_{side}_embed.weight", (NEUMF[side + "s"], width))
    for i, (inputs, outputs) in enumerate(zip(NEUMF["layers"], NEUMF["layers"][1:], strict=False)):
        yield from _dense(f"mlp.{i}", inputs, outputs, gain=1.7)
    yield from _dense("final", NEUMF["factors"] + NEUMF["layers"][-1], 1)


def _neumf_batch(number: int) -> dict[str, Array]:
    """user, item int64 [256], label float32 [256]: whether user and item belong to the same half."""
    user = integers("neumf.user", (_NEUMF_BATCH,), 0, NEUMF["users"], number)
    item = integers("neumf.item", (_NEUMF_BATCH,), 0, NEUMF["items"], number)
    return {"user": user, "item": item, "label": (user % 2 == item % 2).astype(np.float32)}


MODELS = {
    m.name: m
    for m in (
        LossModel(
            "resnet",
            RESNET,
            tuple(_resnet_parameters()),
            {"name": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4},
            _resnet_batch,
        ),
        LossModel(
            "bert",
            BERT,
            tuple(_bert_parameters()),
            {"name": "AdamW", "lr": 5e-5, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.01},
            _bert_batch,
        ),
        LossModel(
            "gnmt",
            GNMT,
            tuple(_gnmt_parameters()),
            {"name": "Adam", "lr": 5e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
            _gnmt_batch,
        ),
        LossModel(
            "neumf",
            NEUMF,
            tuple(_neumf_parameters()),
            {"name": "Adam", "lr": 5e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
            _neumf_batch,
        ),
    )
}
