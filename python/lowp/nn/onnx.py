"""Fine-tuning of loaded models: an ONNX model as a module."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from lowp import _core, errors
from lowp._arrays import from_buffer, tensor_infos
from lowp._model import Model, load
from lowp.nn._trace import active
from lowp.nn.module import Module, Parameter
from lowp.nn.tensor import Tensor


class OnnxModule(Module):
    """A model whose f32 constants of rank 1 and more are parameters, named as in the file with "." for "/".

    Args:
        model: what :func:`lowp.load` takes, or its result.
        trained: tells from a parameter's name whether it is trained; without: all are.
    """

    def __init__(
        self, model: Model | str | os.PathLike[str] | bytes, trained: Callable[[str], bool] | None = None
    ) -> None:
        super().__init__()
        self._model = model if isinstance(model, Model) else load(model)
        self._constants: dict[str, str] = {}  # attribute by name in the file
        for name, (array, shape) in _core.float_constants(self._model._core):
            if not shape:
                continue
            attribute = name.replace("/", ".")
            info = tensor_infos([(name, "f32", tuple(shape))])[0]
            parameter = Parameter(from_buffer(info, array, shape), weight_decay=len(shape) > 1)
            parameter.trained = trained is None or trained(name)
            setattr(self, attribute, parameter)
            self._constants[name] = attribute

    def forward(self, *inputs: Tensor, **named: Tensor) -> Any:
        """Inputs in the model's order, or by name; a tensor, or a dict by name where the model has several outputs."""
        wanted = [i.name for i in self._model.inputs]
        tensors = list(inputs) if not named else [named[n] for n in wanted if n in named]
        if len(tensors) != len(wanted):
            raise errors.InvalidArgument(f"the model's inputs are {', '.join(wanted)}, {len(tensors)} were given")
        tracer = active()
        states = {name: tracer.parameter(getattr(self, a))._value for name, a in self._constants.items()}
        prefix = tracer._scopes[-1] if tracer._scopes else ""
        values = tracer.graph.splice(self._model._core, [t._value for t in tensors], states, prefix)
        results = [Tensor(tracer, v) for v in values]
        if len(results) == 1:
            return results[0]
        return {o.name: r for o, r in zip(self._model.outputs, results, strict=True)}
