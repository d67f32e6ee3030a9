"""Calling a module with arrays, and its graph as a model to compile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lowp import _core, errors
from lowp._arrays import TensorInfo, from_buffer, tensor_infos
from lowp._model import Model
from lowp.nn._trace import Tracer, buffer_of, core_dtype, state_buffer, tracing
from lowp.nn.module import Module
from lowp.nn.tensor import Tensor
from lowp.quant import Qat

Array = np.ndarray[Any, Any]


def as_arrays(values: Any, what: str) -> dict[str, Array]:
    """Names and arrays of what a model is called with: an array, a sequence of them, or a mapping."""
    if isinstance(values, Mapping):
        items = {str(k): v for k, v in values.items()}
    elif isinstance(values, (tuple, list)):
        items = {f"{what}{i}" if len(values) > 1 else what: v for i, v in enumerate(values)}
    else:
        items = {what: values}
    return {k: _narrow(np.asarray(v)) for k, v in items.items()}


def _narrow(array: Array) -> Array:
    """Python's floats are f64; a model computes in f32."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


def named_outputs(result: Any) -> dict[str, Tensor]:
    """Names of what forward() returned: "output", "output0", ..., or a mapping's keys."""
    if isinstance(result, Tensor):
        return {"output": result}
    if isinstance(result, Mapping):
        return {str(k): v for k, v in result.items()}
    flat: list[Tensor] = []

    def visit(item: Any) -> None:
        if isinstance(item, (tuple, list)):
            for part in item:
                visit(part)
        elif isinstance(item, Tensor):
            flat.append(item)
        elif item is not None:
            raise errors.TypeMismatch(f"forward() returned a {type(item).__name__}, tensors are wanted")

    visit(result)
    return {f"output{i}" if len(flat) > 1 else "output": t for i, t in enumerate(flat)}


def call(module: Module, inputs: Any, tensors: Mapping[str, Tensor]) -> Any:
    """forward() with the tensors in the places of `inputs`."""
    if isinstance(inputs, Mapping):
        return module(**tensors)
    return module(*tensors.values())


class Program:
    """A traced graph that runs on numpy arrays and shares its states with the model's parameters."""

    def __init__(
        self,
        tracer: Tracer,
        threads: int,
        workspace: _core.Workspace,
        extra: Mapping[str, Array] | None = None,
        profile: bool = False,
    ) -> None:
        arrays = {name: p.data for name, p in tracer.states.items()} | dict(extra or {})
        self._arrays = arrays  # the core writes to their memory
        buffers = {n: state_buffer(a) for n, a in arrays.items()}
        self.core = _core.Program(tracer.graph, threads, profile, buffers, workspace)
        self.inputs: Sequence[TensorInfo] = tensor_infos(self.core.inputs)
        self.outputs: Sequence[TensorInfo] = tensor_infos(self.core.outputs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One run; the arrays have been checked."""
        results = self.core.run([buffer_of(inputs[i.name]) for i in self.inputs])
        return {info.name: from_buffer(info, *r) for info, r in zip(self.outputs, results, strict=True)}


class Programs:
    """Programs by what they are specific to; those not used for long are dropped. They take turns in one memory, which
    has the size that the largest needs."""

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._kept: dict[Any, Program] = {}
        self._workspace = _core.Workspace()

    def find(self, key: Any, make: Callable[[_core.Workspace], Program]) -> Program:
        """That of the key, made where there is none."""
        program = self._kept.pop(key, None) or make(self._workspace)
        while len(self._kept) >= self._limit:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = program  # the last used is the last
        return program

    def clear(self) -> None:
        """The next use of each key makes it again."""
        self._kept.clear()

    @property
    def last(self) -> Program | None:
        """That used last."""
        return next(reversed(self._kept.values()), None)

    @property
    def arena_bytes(self) -> int:
        """What the largest needs."""
        return max((p.core.arena_bytes for p in self._kept.values()), default=0)


def signature(arrays: Mapping[str, Array]) -> tuple[Any, ...]:
    """What a program is specific to."""
    return tuple((k, core_dtype(v.dtype), v.shape) for k, v in arrays.items())


def trace_forward(module: Module, inputs: Any, arrays: Mapping[str, Array], *, training: bool) -> Tracer:
    """The module's graph for inputs of exactly these shapes."""
    tracer = Tracer(module, training=training)
    with tracing(tracer):
        tensors = {k: tracer.input(k, v.dtype, v.shape) for k, v in arrays.items()}
        for name, tensor in named_outputs(call(module, inputs, tensors)).items():
            tracer.graph.output(name, tensor._value)
    return tracer


def run_eagerly(module: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Compiled once for each combination of shapes. Buffers are not updated and dropout does not drop: this is for
    looking at a model; :class:`lowp.Trainer` trains."""
    given: Any = named or inputs
    arrays = as_arrays(given, "input")
    if "_programs" not in module.__dict__:
        module.__dict__["_programs"] = Programs()
    program = module.__dict__["_programs"].find(
        signature(arrays), lambda workspace: Program(trace_forward(module, given, arrays, training=False), 0, workspace)
    )
    results = list(program.run(arrays).values())
    return results[0] if len(results) == 1 else tuple(results)


def to_model(
    module: Module,
    example: Any,
    *,
    free: Mapping[str, Sequence[str | int]] | None = None,
    qat: Qat | None = None,
    ranges: Mapping[str, Array] | None = None,
) -> Model:
    """The module as a model that :func:`lowp.compile` takes, its parameters being constants.

    Args:
        module: computes as in evaluation.
        example: an input as for calling the module: an array, a tuple, or a dict of arrays by name.
        free: extents by input's name, where a string is free ("N"). Without: the first extent of every input is free.
        qat: gives a quantized model with these `ranges`, by name; :meth:`lowp.Trainer.export` knows them.
    """
    arrays = as_arrays(example, "input")
    tracer = Tracer(module, training=False)
    with tracing(tracer):
        tensors = {}
        for name, array in arrays.items():
            shape = list((free or {}).get(name, ["N", *array.shape[1:]] if array.ndim else []))
            tensors[name] = tracer.input(name, array.dtype, shape)
        for name, tensor in named_outputs(call(module, example, tensors)).items():
            tracer.graph.output(name, tensor._value)
    states = {name: buffer_of(p.data) for name, p in tracer.states.items()}
    for name in qat.apply(tracer.graph, observe=False) if qat else ():
        if ranges is None or name not in ranges:
            raise errors.CalibrationError(f"there is no range '{name}': no step was trained with this qat")
        states[name] = buffer_of(ranges[name])
    return Model(tracer.graph.freeze(states))
