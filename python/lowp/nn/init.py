"""Initial content of parameters; the defaults are PyTorch's. All draw from one generator: see :func:`lowp.nn.seed`."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float32]]
_generator = np.random.Generator(np.random.Philox(0))


def seed(number: int) -> None:
    """Modules made from now on have the same initial content again."""
    global _generator  # noqa: PLW0603 - one for the process, as users of PyTorch expect
    _generator = np.random.Generator(np.random.Philox(number))


def uniform(shape: tuple[int, ...], low: float, high: float) -> Array:
    """Uniform in [low, high)."""
    return _generator.uniform(low, high, shape).astype(np.float32)


def normal(shape: tuple[int, ...], std: float = 1.0) -> Array:
    """Normal with mean 0."""
    return (_generator.standard_normal(shape) * std).astype(np.float32)


def fan_in(shape: tuple[int, ...]) -> int:
    """Inputs of each output: the product of all extents but the first."""
    return int(np.prod(shape[1:])) if len(shape) > 1 else 1


def kaiming_uniform(shape: tuple[int, ...], gain: float = 3.0**-0.5) -> Array:
    """He et al. 2015; the default gain is that of PyTorch's layers: bound 1 / sqrt(fan in)."""
    bound = gain * (3.0 / max(fan_in(shape), 1)) ** 0.5
    return uniform(shape, -bound, bound)


def kaiming_normal_fan_out(shape: tuple[int, ...]) -> Array:
    """For convolutions before ReLU, as torchvision's ResNets have it: std sqrt(2 / (out kh kw))."""
    return normal(shape, (2.0 / (shape[0] * int(np.prod(shape[2:])))) ** 0.5)


def xavier_uniform(shape: tuple[int, ...]) -> Array:
    """Glorot and Bengio 2010, for a matrix [out, in]."""
    bound = (6.0 / (shape[0] + shape[1])) ** 0.5
    return uniform(shape, -bound, bound)


def zeros(shape: tuple[int, ...]) -> Array:
    """0."""
    return np.zeros(shape, np.float32)


def ones(shape: tuple[int, ...]) -> Array:
    """1."""
    return np.ones(shape, np.float32)
