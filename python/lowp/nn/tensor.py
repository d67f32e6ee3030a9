"""Symbolic tensors: what forward() of a module works on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lowp import _core, errors
from lowp._arrays import DTYPES
from lowp.nn._trace import Extent, Tracer


class Tensor:
    """A value of the graph under construction. Arithmetic broadcasts as in numpy."""

    __array_priority__ = 1000  # numpy arrays leave arithmetic with tensors to us

    def __init__(self, tracer: Tracer, value: _core.Value) -> None:
        self._tracer = tracer
        self._value = value

    @property
    def name(self) -> str:
        """The value's name in the graph."""
        return self._value.name

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype, before mixed precision."""
        return DTYPES[self._value.type[1]]

    @property
    def shape(self) -> tuple[Extent, ...]:
        """Extents: numbers, symbols where they are free ("N"), None where unknown."""
        shape = self._value.type[2]
        if shape is None:
            raise errors.ShapeMismatch(f"the rank of '{self.name}' is not known")
        return tuple(shape)

    @property
    def ndim(self) -> int:
        """The rank."""
        return len(self.shape)

    def _other(self, other: Any) -> Tensor:
        if isinstance(other, Tensor):
            return other
        return self._tracer.constant(np.asarray(other, self.dtype))

    def _binary(self, name: str, other: Any, *, swapped: bool = False) -> Tensor:
        operands = [self, self._other(other)]
        return self._tracer.op(name, operands[::-1] if swapped else operands)[0]

    def __add__(self, other: Any) -> Tensor:
        return self._binary("Add", other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Tensor:
        return self._binary("Sub", other)

    def __rsub__(self, other: Any) -> Tensor:
        return self._binary("Sub", other, swapped=True)

    def __mul__(self, other: Any) -> Tensor:
        return self._binary("Mul", other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tensor:
        return self._binary("Div", other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self._binary("Div", other, swapped=True)

    def __matmul__(self, other: Tensor) -> Tensor:
        return self._binary("MatMul", other)

    def __neg__(self) -> Tensor:
        return self._tracer.op("Neg", [self])[0]

    def __getitem__(self, key: Any) -> Tensor:
        """Slices with numbers and ranges, as in numpy; no arrays."""
        keys = key if isinstance(key, tuple) else (key,)
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys = keys[:at] + (slice(None),) * (self.ndim - len(keys) + 1) + keys[at + 1 :]
        starts, ends, steps, axes, dropped = [], [], [], [], []
        for axis, k in enumerate(keys):
            if isinstance(k, slice):
                if k == slice(None):
                    continue
                starts.append(k.start or 0)
                ends.append(np.iinfo(np.int64).max if k.stop is None else k.stop)
                steps.append(k.step or 1)
            elif isinstance(k, int):
                starts.append(k)
                ends.append(np.iinfo(np.int64).max if k == -1 else k + 1)
                steps.append(1)
                dropped.append(axis)
            else:
                raise errors.InvalidArgument(f"a tensor is indexed by numbers and slices, not by {type(k).__name__}")
            axes.append(axis)
        if not axes:
            return self
        ints = [self._tracer.constant(np.asarray(v, np.int64)) for v in (starts, ends, axes, steps)]
        result = self._tracer.op("Slice", [self, *ints])[0]
        return result.squeeze(*dropped) if dropped else result

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """The same elements under another shape; one extent may be -1."""
        extents = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        target = self._tracer.constant(np.asarray(extents, np.int64), "shape")
        return self._tracer.op("Reshape", [self, target])[0]

    def transpose(self, *axes: int) -> Tensor:
        """All axes in a new order."""
        return self._tracer.op("Transpose", [self], {"perm": list(axes)})[0]

    def squeeze(self, *axes: int) -> Tensor:
        """Without axes of extent 1."""
        return self._tracer.op("Squeeze", [self, self._tracer.constant(np.asarray(axes, np.int64))])[0]

    def unsqueeze(self, *axes: int) -> Tensor:
        """With further axes of extent 1, at these positions of the result."""
        return self._tracer.op("Unsqueeze", [self, self._tracer.constant(np.asarray(axes, np.int64))])[0]

    def _reduced(self, name: str, axes: Sequence[int] | int | None, keepdims: bool) -> Tensor:
        operands: list[Tensor | None] = [self]
        if axes is not None:
            axes = [axes] if isinstance(axes, int) else list(axes)
            operands.append(self._tracer.constant(np.asarray(axes, np.int64)))
        return self._tracer.op(name, operands, {"keepdims": int(keepdims)})[0]

    def sum(self, axes: Sequence[int] | int | None = None, keepdims: bool = False) -> Tensor:
        """Sum over axes; None: over all."""
        return self._reduced("ReduceSum", axes, keepdims)

    def mean(self, axes: Sequence[int] | int | None = None, keepdims: bool = False) -> Tensor:
        """Mean over axes; None: over all."""
        return self._reduced("ReduceMean", axes, keepdims)

    def astype(self, dtype: Any) -> Tensor:
        """Converted to another dtype."""
        from lowp.nn._trace import core_dtype

        numbers = {"f32": 1, "u8": 2, "i8": 3, "i32": 6, "i64": 7, "bool": 9, "f16": 10, "f64": 11, "bf16": 16}
        return self._tracer.op("Cast", [self], {"to": numbers[core_dtype(dtype)]})[0]

    def __repr__(self) -> str:
        extents = ", ".join("?" if n is None else str(n) for n in self.shape)
        return f"Tensor({self.name!r}, {self.dtype.name}, [{extents}])"
