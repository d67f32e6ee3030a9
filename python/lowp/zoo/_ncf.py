"""NeuMF (He et al., Neural Collaborative Filtering, https://arxiv.org/abs/1708.05031) with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lowp.zoo._builder import GraphBuilder

# MovieLens-20M, with the sizes that MLPerf trained.
_USERS, _ITEMS = 138_493, 26_744
_FACTORS = 64
_LAYERS = (256, 256, 128, 64)


def write_ncf(path: Path) -> Path:
    """Inputs user and item int64 [N], output score float32 [N, 1]: how likely each pair is."""
    rng = np.random.default_rng(11)
    g = GraphBuilder()
    ids = {"user": g.input("user", np.int64, ["N"]), "item": g.input("item", np.int64, ["N"])}

    def embedding(kind: str, part: str, width: int) -> str:
        rows = _USERS if kind == "user" else _ITEMS
        table = rng.standard_normal((rows, width), np.float32) * np.float32(0.05)
        return g.op("Gather", g.weight(table, f"{part}.{kind}"), ids[kind], name=f"{part}.{kind}_embedding")

    def dense(x: str, name: str, inputs: int, outputs: int) -> str:
        w = rng.standard_normal((outputs, inputs), np.float32) * np.float32((2 / inputs) ** 0.5)
        b = rng.standard_normal(outputs, np.float32) * np.float32(0.01)
        return g.op("Gemm", x, g.weight(w, name + ".weight"), g.weight(b, name + ".bias"), name=name, transB=1)

    factors = g.op("Mul", embedding("user", "mf", _FACTORS), embedding("item", "mf", _FACTORS), name="mf.product")
    half = _LAYERS[0] // 2
    x = g.op("Concat", embedding("user", "mlp", half), embedding("item", "mlp", half), axis=-1)
    for i, (inputs, outputs) in enumerate(zip(_LAYERS, _LAYERS[1:], strict=False)):
        x = g.op("Relu", dense(x, f"mlp.{i}", inputs, outputs))
    x = dense(g.op("Concat", factors, x, axis=-1), "head", _FACTORS + _LAYERS[-1], 1)
    g.op("Sigmoid", x, outputs=["score"])
    return g.save(path, "ncf", [("score", np.float32, ["N", 1])])
