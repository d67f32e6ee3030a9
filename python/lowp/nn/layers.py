"""Layers with parameters, and the activations and pools as modules. Arguments and names of parameters are PyTorch's."""

from __future__ import annotations

import numpy as np

from lowp import errors
from lowp.nn import functional as F  # noqa: N812 - the usual name
from lowp.nn import init
from lowp.nn._trace import active
from lowp.nn.module import Buffer, Module, Parameter
from lowp.nn.tensor import Tensor

_LOWP = "lowp"


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def value_of(parameter: Parameter) -> Tensor:
    """The parameter as a tensor of the graph being traced."""
    return active().parameter(parameter)


class Linear(Module):
    """x [..., in_features] W' + b; weight [out_features, in_features], bias [out_features]."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(init.kaiming_uniform((out_features, in_features)))
        bound = in_features**-0.5
        self.bias = Parameter(init.uniform((out_features,), -bound, bound), weight_decay=False) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        if x.shape[-1] != self.in_features:
            raise errors.ShapeMismatch(f"the input's last extent is {x.shape[-1]}, {self.in_features} is wanted")
        return F.linear(x, value_of(self.weight), None if self.bias is None else value_of(self.bias))

    def describe(self) -> str:
        """Sizes."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Conv2d(Module):
    """Convolution of [N, in, H, W]; weight [out, in / groups, kh, kw], bias [out]."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise errors.InvalidArgument(
                f"{in_channels} and {out_channels} channels do not divide into {groups} groups"
            )
        shape = (out_channels, in_channels // groups, *_pair(kernel_size))
        self.stride, self.padding, self.dilation = _pair(stride), _pair(padding), _pair(dilation)
        self.groups = groups
        self.weight = Parameter(init.kaiming_uniform(shape))
        bound = init.fan_in(shape) ** -0.5
        self.bias = Parameter(init.uniform((out_channels,), -bound, bound), weight_decay=False) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] to [N, out, H', W']."""
        bias = None if self.bias is None else value_of(self.bias)
        return F.conv2d(x, value_of(self.weight), bias, self.stride, self.padding, self.dilation, self.groups)

    def describe(self) -> str:
        """Sizes."""
        out, per_group, kh, kw = self.weight.shape
        return f"{per_group * self.groups}, {out}, kernel_size=({kh}, {kw}), stride={self.stride}"


class BatchNorm2d(Module):
    """Batch normalization over N, H and W (Ioffe and Szegedy 2015).

    In training the batch's statistics are used, and running_mean and running_var move towards them by `momentum` (the
    variance without bias, as in PyTorch); else, and where `frozen`, the running statistics are used.
    """

    def __init__(self, features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.frozen = False
        self.weight = Parameter(init.ones((features,)), weight_decay=False)
        self.bias = Parameter(init.zeros((features,)), weight_decay=False)
        self.running_mean = Buffer(init.zeros((features,)))
        self.running_var = Buffer(init.ones((features,)))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        tracer = active()
        parts = [value_of(p) for p in (self.weight, self.bias, self.running_mean, self.running_var)]
        if self.frozen or not (tracer.training and self.training):
            return tracer.op("BatchNormalization", [x, *parts], {"epsilon": self.eps})[0]
        weight, bias, running_mean, running_var = parts
        attributes = {"epsilon": self.eps}
        y, mean, _, variance = tracer.op("BatchNormTraining", [x, weight, bias], attributes, outputs=4, domain=_LOWP)
        keep = 1.0 - self.momentum
        tracer.update(self.running_mean, running_mean * keep + mean * self.momentum)
        tracer.update(self.running_var, running_var * keep + variance * self.momentum)
        return y

    def describe(self) -> str:
        """Sizes."""
        return f"{self.weight.shape[0]}, eps={self.eps}, momentum={self.momentum}"


class LayerNorm(Module):
    """Normalization over the last axes (Ba et al. 2016)."""

    def __init__(self, shape: int | tuple[int, ...], eps: float = 1e-5) -> None:
        super().__init__()
        extents = (shape,) if isinstance(shape, int) else tuple(shape)
        self.eps = eps
        self.weight = Parameter(init.ones(extents), weight_decay=False)
        self.bias = Parameter(init.zeros(extents), weight_decay=False)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.layer_norm(x, value_of(self.weight), value_of(self.bias), self.eps)


class Embedding(Module):
    """A table of vectors: indices of any shape to [..., dim]; weight [count, dim].

    sparse: a step of the optimizer changes only the rows that the batch looked up. Faster for large tables; unlike
    without, momentum, Adam's averages and weight decay of other rows stand still. The table must be looked up once in
    forward(), and the optimizer be SGD, Adam or AdamW.
    """

    def __init__(self, count: int, dim: int, std: float = 1.0, sparse: bool = False) -> None:
        super().__init__()
        self.weight = Parameter(init.normal((count, dim), std), sparse=sparse)

    def forward(self, indices: Tensor) -> Tensor:
        """i64 or i32 in, f32 out."""
        return F.embedding(indices, value_of(self.weight))


class Dropout(Module):
    """Dropout (Srivastava et al. 2014), in training only. Reproducible: keyed by the trainer's seed and the step."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.dropout(x, self.p) if self.training else x


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.relu(x)


class GELU(Module):
    """Gaussian error linear unit (Hendrycks and Gimpel 2016)."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.gelu(x, self.approximate)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.sigmoid(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.tanh(x)


class Softmax(Module):
    """exp(x) over its sum along an axis."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.softmax(x, self.dim)


class Identity(Module):
    """x."""

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x


class Flatten(Module):
    """All axes but the first as one."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, ...] to [N, product]."""
        return F.flatten(x)


class MaxPool2d(Module):
    """The largest element of each window."""

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.kernel = _pair(kernel_size)
        self.stride = self.kernel if stride is None else _pair(stride)
        self.padding = _pair(padding)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H', W']."""
        return F.max_pool2d(x, self.kernel, self.stride, self.padding)


class AvgPool2d(MaxPool2d):
    """The mean of each window."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H', W']."""
        return F.avg_pool2d(x, self.kernel, self.stride, self.padding)


class AdaptiveAvgPool2d(Module):
    """The mean of each image; output_size is 1."""

    def __init__(self, output_size: int | tuple[int, int] = 1) -> None:
        super().__init__()
        if _pair(output_size) != (1, 1):
            raise errors.Unsupported(f"output_size is {output_size}, 1 is what there is")

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, 1, 1]."""
        return F.global_avg_pool2d(x)


class CrossEntropyLoss(Module):
    """See :func:`lowp.nn.functional.cross_entropy`."""

    def __init__(
        self,
        weight: np.ndarray | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight = None if weight is None else Buffer(np.asarray(weight, np.float32))
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """A scalar."""
        weight = None if self.weight is None else active().constant(self.weight.data)
        return F.cross_entropy(scores, labels, weight, self.ignore_index, self.reduction, self.label_smoothing)


class BCEWithLogitsLoss(Module):
    """See :func:`lowp.nn.functional.binary_cross_entropy_with_logits`."""

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        """A scalar."""
        return F.binary_cross_entropy_with_logits(scores, targets)


class MSELoss(Module):
    """Mean squared difference."""

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """A scalar."""
        return F.mse_loss(x, target)
