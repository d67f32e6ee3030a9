"""GNMT (Wu et al., https://arxiv.org/abs/1609.08144), 4 layers each way, random weights: encoder, decoder step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lowp.zoo._builder import GraphBuilder

_WORDS = 32_000
_HIDDEN = 1024
_LAYERS = 4


class _Network:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = GraphBuilder()

    def random(self, *shape: int, std: float = 0.03) -> np.ndarray[Any, Any]:
        return self.rng.standard_normal(shape, np.float32) * np.float32(std)

    def embedding(self, ids: str) -> str:
        table = self.graph.weight(self.random(_WORDS, _HIDDEN, std=0.05), "embedding.weight")
        return self.graph.op("Gather", table, ids, name="embedding")

    def lstm(self, x: str, name: str, inputs: int, directions: int = 1, *states: str) -> list[str]:
        """Y [S, directions, N, H], last h and c; without states they start at zero."""
        g, rows = self.graph, 4 * _HIDDEN
        parts = [
            g.weight(self.random(directions, rows, inputs), name + ".w"),
            g.weight(self.random(directions, rows, _HIDDEN), name + ".r"),
            g.weight(self.random(directions, 2 * rows), name + ".bias"),
        ]
        outputs = [f"{name}.{part}" for part in ("y", "h", "c")]
        direction = "bidirectional" if directions == 2 else "forward"
        operands = [x, *parts, *(["", *states] if states else [])]
        g.op("LSTM", *operands, name=name, outputs=outputs, hidden_size=_HIDDEN, direction=direction)
        return outputs


def write_gnmt_encoder(path: Path) -> Path:
    """Input tokens int64 [S, N], output memory float32 [S, N, 1024]. The first layer reads both ways."""
    net = _Network(13)
    g = net.graph

    def sequence(x: str, name: str, inputs: int, directions: int) -> str:
        y = net.lstm(x, name, inputs, directions)[0]
        y = g.op("Transpose", y, perm=[0, 2, 1, 3])
        return g.op("Reshape", y, g.ints(0, 0, directions * _HIDDEN))

    x = net.embedding(g.input("tokens", np.int64, ["S", "N"]))
    x = sequence(x, "layer0", _HIDDEN, 2)
    x = sequence(x, "layer1", 2 * _HIDDEN, 1)
    for i in range(2, _LAYERS):
        x = g.op("Add", sequence(x, f"layer{i}", _HIDDEN, 1), x, name=f"layer{i}.residual")
    g.op("Identity", x, outputs=["memory"])
    return g.save(path, "gnmt_encoder", [("memory", np.float32, ["S", "N", _HIDDEN])])


def write_gnmt_decoder_step(path: Path) -> Path:
    """One word: token int64 [N], memory float32 [S, N, 1024], states h and c [4, N, 1024], context [N, 1024].

    Outputs logits [N, 32000] and the next step's next_h, next_c and next_context. The first layer's output asks the
    memory (scaled dot product through a learned projection); all later layers read the context too.
    """
    net = _Network(17)
    g = net.graph
    token = g.input("token", np.int64, ["N"])
    memory = g.input("memory", np.float32, ["S", "N", _HIDDEN])
    h, c = (g.input(name, np.float32, [_LAYERS, "N", _HIDDEN]) for name in ("h", "c"))
    context = g.input("context", np.float32, ["N", _HIDDEN])
    states: dict[str, list[str]] = {"h": [], "c": []}

    def layer(x: str, i: int) -> str:
        own = [g.op("Gather", v, g.ints(i), name=f"layer{i}.last_{k}", axis=0) for k, v in (("h", h), ("c", c))]
        _, last_h, last_c = net.lstm(g.op("Unsqueeze", x, g.ints(0)), f"layer{i}", 2 * _HIDDEN, 1, *own)
        states["h"].append(last_h)
        states["c"].append(last_c)
        return g.op("Squeeze", last_h, g.ints(0))

    x = layer(g.op("Concat", net.embedding(token), context, axis=-1), 0)
    query = g.op("MatMul", x, g.weight(net.random(_HIDDEN, _HIDDEN), "attention.query"), name="attention.query_product")
    scaled = g.op("Mul", g.op("Unsqueeze", query, g.ints(1)), g.scalar(_HIDDEN**-0.5))
    scores = g.op("MatMul", scaled, g.op("Transpose", memory, perm=[1, 2, 0]), name="attention.scores")
    weights = g.op("Softmax", scores, axis=-1)
    seen = g.op("MatMul", weights, g.op("Transpose", memory, perm=[1, 0, 2]), name="attention.context")
    context = g.op("Squeeze", seen, g.ints(1), outputs=["next_context"])
    for i in range(1, _LAYERS):
        y = layer(g.op("Concat", x, context, axis=-1), i)
        x = g.op("Add", y, x, name=f"layer{i}.residual") if i > 1 else y
    w = g.weight(net.random(_HIDDEN, _WORDS), "head.weight")
    g.op("Add", g.op("MatMul", x, w, name="head"), g.weight(net.random(_WORDS), "head.bias"), outputs=["logits"])
    g.op("Concat", *states["h"], axis=0, outputs=["next_h"])
    g.op("Concat", *states["c"], axis=0, outputs=["next_c"])
    state = [_LAYERS, "N", _HIDDEN]
    outputs = [("logits", np.float32, ["N", _WORDS]), ("next_h", np.float32, state), ("next_c", np.float32, state)]
    return g.save(path, "gnmt_decoder_step", [*outputs, ("next_context", np.float32, ["N", _HIDDEN])])
