"""Models before compilation."""

from __future__ import annotations

import os
from typing import Any

from lowp import _core
from lowp._arrays import TensorInfo, tensor_infos


class Model:
    """An imported model; made by :func:`load`. It is not changed by compilation."""

    def __init__(self, core: _core.Model) -> None:
        self._core = core
        self._inputs = tensor_infos(core.inputs)
        self._outputs = tensor_infos(core.outputs)

    @property
    def name(self) -> str:
        """The name in the file; may be empty."""
        return self._core.name

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """What a run must be given, in order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """What a run gives, in order."""
        return self._outputs

    @property
    def nodes(self) -> list[tuple[str, str]]:
        """Name and op of each node; the names are what ``keep_fp32`` of :func:`compile` takes."""
        return [(name, op) for name, op in self._core.nodes]

    def __repr__(self) -> str:
        return f"Model({self.name!r}, inputs={list(self.inputs)}, outputs={list(self.outputs)})"


def load(model: str | os.PathLike[str] | bytes | bytearray | memoryview | Any) -> Model:
    """Reads an ONNX model.

    Args:
        model: a path, the file's bytes (external data are refused then), or an ``onnx.ModelProto``.

    Raises:
        NotFound: there is no such file.
        CorruptFile: not an ONNX file.
        InvalidModel: it breaks ONNX's rules.
        Unsupported: it has ops that lowp lacks; all are named.
    """
    if isinstance(model, (str, os.PathLike)):
        return Model(_core.Model.load(os.fspath(model)))
    if hasattr(model, "SerializeToString"):
        model = model.SerializeToString()
    return Model(_core.Model.load_bytes(bytes(model)))
