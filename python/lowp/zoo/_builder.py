"""Writes ONNX graphs node by node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowp import errors
from lowp.zoo._fetch import write_atomically

if TYPE_CHECKING:
    import onnx

_OPSET = 20
_IR_VERSION = 10


class GraphBuilder:
    """Collects nodes and weights; values are their names."""

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError as e:
            raise errors.Unsupported("building models of the zoo needs the package onnx: pip install lowp[zoo]") from e
        self._onnx = onnx
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: Any, shape: Sequence[int | str]) -> str:
        """An input of the model."""
        self._inputs.append(self._info(name, dtype, shape))
        return name

    def weight(self, array: Any, name: str = "") -> str:
        """A constant."""
        name = name or f"constant_{len(self._weights)}"
        self._weights.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def ints(self, *values: int) -> str:
        """A constant int64 vector."""
        return self.weight(np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        """A constant float32 scalar."""
        return self.weight(np.array(value, np.float32).reshape(()))

    def op(self, kind: str, *inputs: str, name: str = "", outputs: Sequence[str] = (), **attributes: Any) -> str:
        """A node; gives its first output."""
        name = name or f"{kind.lower()}_{len(self._nodes)}"
        results = list(outputs) or [f"{name}.out"]
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), results, name=name, **attributes))
        return results[0]

    def save(self, path: Path, name: str, outputs: Sequence[tuple[str, Any, Sequence[int | str]]]) -> Path:
        """Checks the model and writes it."""
        helper = self._onnx.helper
        graph = helper.make_graph(self._nodes, name, self._inputs, [self._info(*o) for o in outputs], self._weights)
        opset = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION, producer_name="lowp.zoo")
        self._onnx.checker.check_model(model)
        return write_atomically(path, lambda temporary: self._onnx.save(model, str(temporary)))

    def _info(self, name: str, dtype: Any, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, kind, list(shape))
