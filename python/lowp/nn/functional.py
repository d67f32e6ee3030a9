"""Functions on symbolic tensors, for forward() of a module. Names are those of PyTorch where it has the function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lowp import errors
from lowp.nn._trace import active
from lowp.nn.tensor import Tensor

_LOWP = "lowp"


def _ints(values: Sequence[int]) -> Tensor:
    return active().constant(np.asarray(values, np.int64), "ints")


def relu(x: Tensor) -> Tensor:
    """max(x, 0)"""
    return active().op("Relu", [x])[0]


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution's cumulative probability at x; approximate="tanh": by a hyperbolic tangent."""
    return active().op("Gelu", [x], {"approximate": approximate})[0]


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))"""
    return active().op("Sigmoid", [x])[0]


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return active().op("Tanh", [x])[0]


def exp(x: Tensor) -> Tensor:
    """e^x"""
    return active().op("Exp", [x])[0]


def log(x: Tensor) -> Tensor:
    """Natural logarithm."""
    return active().op("Log", [x])[0]


def sqrt(x: Tensor) -> Tensor:
    """Square root."""
    return active().op("Sqrt", [x])[0]


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) over its sum along an axis."""
    return active().op("Softmax", [x], {"axis": axis})[0]


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """The logarithm of softmax."""
    return active().op("LogSoftmax", [x], {"axis": axis})[0]


def cat(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Joined along an axis."""
    return active().op("Concat", list(tensors), {"axis": axis})[0]


def split(x: Tensor, sizes: Sequence[int], axis: int = 0) -> list[Tensor]:
    """Parts of these extents along an axis."""
    return active().op("Split", [x, _ints(sizes)], {"axis": axis}, outputs=len(sizes))


def where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """x where the condition holds, else y."""
    return active().op("Where", [condition, x, y])[0]


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product of the last two axes."""
    return a @ b


def flatten(x: Tensor, axis: int = 1) -> Tensor:
    """All axes from `axis` on as one."""
    return active().op("Flatten", [x], {"axis": axis})[0]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., in] times weight [out, in] transposed, plus bias [out]."""
    tracer = active()
    shape = x.shape
    if len(shape) == 2:
        return tracer.op("Gemm", [x, weight, bias] if bias is not None else [x, weight], {"transB": 1})[0]
    if tracer.training and sum(not isinstance(n, int) for n in shape) <= 1:
        # One product of two matrices, whose gradients are products of matrices too.
        rows = linear(x.reshape(-1, _extent(shape[-1], "the last extent")), weight, bias)
        return rows.reshape(*[n if isinstance(n, int) else -1 for n in shape[:-1]], weight.shape[0])  # type: ignore[arg-type]
    y = x @ weight.transpose(1, 0)
    return y if bias is None else y + bias


def embedding(indices: Tensor, weight: Tensor) -> Tensor:
    """Rows of weight [n, d] at indices (i64 or i32, any shape): [..., d]."""
    return active().op("Gather", [weight, indices], {"axis": 0})[0]


def dropout(x: Tensor, ratio: float) -> Tensor:
    """In training: zero with probability `ratio`, else x / (1 - ratio)."""
    tracer = active()
    if not 0 <= ratio < 1:
        raise errors.InvalidArgument(f"the ratio of dropout is {ratio}, from 0 to below 1 is wanted")
    if not tracer.training or ratio == 0:
        return x
    seed, step = tracer.random_inputs()
    attributes = {"ratio": float(ratio), "stream": tracer.next_stream()}
    return tracer.op("Dropout", [x, seed, step], attributes, domain=_LOWP)[0]


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """x [N, C, H, W] with weight [out, C / groups, kh, kw]."""
    attributes: dict[str, Any] = {
        "strides": list(stride),
        "pads": [*padding, *padding],
        "dilations": list(dilation),
        "group": groups,
    }
    return active().op("Conv", [x, weight] if bias is None else [x, weight, bias], attributes)[0]


def max_pool2d(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """The largest element of each window; padding is never the largest."""
    attributes = {"kernel_shape": list(kernel), "strides": list(stride), "pads": [*padding, *padding]}
    return active().op("MaxPool", [x], attributes)[0]


def avg_pool2d(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """The mean of each window, padding counted as zeros (PyTorch's default)."""
    attributes = {
        "kernel_shape": list(kernel),
        "strides": list(stride),
        "pads": [*padding, *padding],
        "count_include_pad": 1,
    }
    return active().op("AveragePool", [x], attributes)[0]


def global_avg_pool2d(x: Tensor) -> Tensor:
    """[N, C, H, W] to [N, C, 1, 1]."""
    return active().op("GlobalAveragePool", [x])[0]


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float = 1e-5) -> Tensor:
    """Over the last axes, as many as weight has."""
    operands = [x, weight] if bias is None else [x, weight, bias]
    return active().op("LayerNormalization", operands, {"axis": -weight.ndim, "epsilon": float(eps)})[0]


def cross_entropy(
    scores: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of softmax(scores) [N, C, ...] and labels [N, ...] (i64).

    With label smoothing the target is (1 - s) of the label and s of all classes alike (without class weights).
    """
    attributes: dict[str, Any] = {"reduction": reduction}
    if ignore_index is not None:
        attributes["ignore_index"] = ignore_index
    operands = [scores, labels] if weight is None else [scores, labels, weight]
    loss = active().op("SoftmaxCrossEntropyLoss", operands, attributes)[0]
    if label_smoothing == 0:
        return loss
    if weight is not None or ignore_index is not None or reduction != "mean":
        raise errors.Unsupported("label smoothing goes with reduction 'mean', without weights and ignore_index")
    everywhere = -log_softmax(scores, 1).mean()
    return loss * (1.0 - label_smoothing) + everywhere * label_smoothing


def binary_cross_entropy_with_logits(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean of -t log s(x) - (1 - t) log(1 - s(x)) with the sigmoid s; scores and targets of one shape."""
    return active().op("SigmoidCrossEntropyLoss", [scores, targets], domain=_LOWP)[0].mean()


def mse_loss(x: Tensor, target: Tensor) -> Tensor:
    """Mean of (x - target)^2."""
    difference = x - target
    return (difference * difference).mean()


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k' / sqrt(d) + mask) v for q, k, v [N, heads, S, d]; the mask is added and broadcasts."""
    d = _extent(q.shape[-1], "the size of a head")
    scores = (q * (d**-0.5)) @ k.transpose(0, 1, 3, 2)
    if mask is not None:
        scores = scores + mask
    return softmax(scores) @ v


def _extent(n: int | str | None, what: str) -> int:
    if not isinstance(n, int):
        raise errors.ShapeMismatch(f"{what} is {n}, a number is wanted")
    return n
