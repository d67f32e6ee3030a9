"""ResNet-50 v1.5 (He et al., https://arxiv.org/abs/1512.03385; stride in the 3x3 convolution) with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lowp.zoo._builder import GraphBuilder

_STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))  # blocks, channels inside, stride


def write_resnet50(path: Path) -> Path:
    """Input x float32 [N, 3, 224, 224], output logits float32 [N, 1000]. Batch norm is folded in."""
    rng = np.random.default_rng(7)
    g = GraphBuilder()

    def conv(x: str, name: str, c_in: int, c_out: int, kernel: int, stride: int, gain: float = 2**0.5) -> str:
        std = np.float32(gain / (c_in * kernel * kernel) ** 0.5)
        w = rng.standard_normal((c_out, c_in, kernel, kernel), np.float32) * std
        b = rng.standard_normal(c_out, np.float32) * np.float32(0.05)
        parts = g.weight(w, name + ".weight"), g.weight(b, name + ".bias")
        shape: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4}
        return g.op("Conv", x, *parts, name=name, **shape)

    x = g.op("Relu", conv(g.input("x", np.float32, ["N", 3, 224, 224]), "stem", 3, 64, 7, 2))
    x = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for stage, (blocks, inner, stride) in enumerate(_STAGES):
        for block in range(blocks):
            name, s = f"stage{stage}.block{block}", stride if block == 0 else 1
            y = g.op("Relu", conv(x, name + ".conv1", channels, inner, 1, 1))
            y = g.op("Relu", conv(y, name + ".conv2", inner, inner, 3, s))
            y = conv(y, name + ".conv3", inner, 4 * inner, 1, 1, gain=0.3)
            if block == 0:
                x = conv(x, name + ".shortcut", channels, 4 * inner, 1, s, gain=1.0)
            x = g.op("Relu", g.op("Add", y, x, name=name + ".add"))
            channels = 4 * inner
    x = g.op("Flatten", g.op("GlobalAveragePool", x))
    w = rng.standard_normal((1000, channels), np.float32) * np.float32(channels**-0.5)
    g.op("Gemm", x, g.weight(w, "fc.weight"), g.weight(np.zeros(1000, np.float32), "fc.bias"), name="fc", transB=1)
    g.op("Identity", "fc.out", outputs=["logits"])
    return g.save(path, "resnet50", [("logits", np.float32, ["N", 1000])])
