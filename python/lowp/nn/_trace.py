"""From Python to a graph: while a tracer is active, calling a module adds nodes instead of computing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lowp import _core, errors
from lowp._arrays import DTYPES

if TYPE_CHECKING:
    from lowp.nn.module import Module, Parameter
    from lowp.nn.tensor import Tensor

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_active: list[Tracer] = []

Extent = int | str | None


def core_dtype(dtype: Any) -> str:
    """The core's name of a numpy dtype ("f32"). Raises TypeMismatch where it has none."""
    name = _NAMES.get(np.dtype(dtype))
    if name is None:
        raise errors.TypeMismatch(f"lowp has no dtype {np.dtype(dtype)}")
    return name


def buffer_of(array: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], tuple[int, ...]]:
    """The array as the core reads it: contiguous, of a dtype that the buffer protocol knows; and its shape."""
    shape = array.shape
    array = np.ascontiguousarray(array).reshape(shape)
    if array.dtype.kind not in "fiub":
        array = array.view(np.uint16 if array.dtype.itemsize == 2 else np.uint8)
    return array, shape


def state_buffer(array: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], tuple[int, ...]]:
    """The array's own memory as the core reads and writes it."""
    buffer, shape = buffer_of(array)
    if not np.shares_memory(buffer, array) and array.size:
        raise errors.InternalError("a state's array is not contiguous")
    return buffer, shape


class Tracer:
    """One graph under construction, with the states that stand for the parameters and buffers of `root`."""

    def __init__(self, root: Module, *, training: bool) -> None:
        self.graph = _core.Graph()
        self.training = training
        self.states: dict[str, Parameter] = {}
        self.recompute: list[str] = []
        self._values: dict[int, _core.Value] = {}
        self._paths = {id(m): path for path, m in root.named_modules()}
        self._names = {id(p): name for name, p in root.named_states()}
        self._scopes: list[str] = []
        self._updates: dict[int, Tensor] = {}
        self._streams = 0
        self.seed: Tensor | None = None
        self.step: Tensor | None = None

    def random_inputs(self) -> tuple[Tensor, Tensor]:
        """The inputs "seed" and "random_step" (i64 scalars), from which random ops draw."""
        if self.seed is None or self.step is None:
            self.seed = self.input("seed", np.int64, ())
            self.step = self.input("random_step", np.int64, ())
        return self.seed, self.step

    def next_stream(self) -> int:
        """A number for each random op of the graph, so that no two draw the same."""
        self._streams += 1
        return self._streams

    def input(self, name: str, dtype: Any, shape: Sequence[Extent]) -> Tensor:
        """A further input of the graph."""
        from lowp.nn.tensor import Tensor

        return Tensor(self, self.graph.input(name, core_dtype(dtype), list(shape)))

    def constant(self, array: Any, name: str = "const") -> Tensor:
        """A value that is known now."""
        from lowp.nn.tensor import Tensor

        array = np.asarray(array)
        return Tensor(self, self.graph.constant(name, (*buffer_of(array), core_dtype(array.dtype))))

    def parameter(self, parameter: Parameter) -> Tensor:
        """The value of a parameter or buffer: a state of the graph."""
        from lowp.nn.tensor import Tensor

        value = self._values.get(id(parameter))
        if value is None:
            name = self._names.get(id(parameter))
            if name is None:
                raise errors.InvalidArgument(
                    "a parameter is used that is no attribute of the model or of a module in it"
                    " (assign it to self in __init__, lists of modules belong into nn.ModuleList)"
                )
            value = self.graph.state(name, core_dtype(parameter.data.dtype), state_buffer(parameter.data))
            self._values[id(parameter)] = value
            self.states[name] = parameter
        return Tensor(self, value)

    def update(self, buffer: Parameter, value: Tensor) -> None:
        """What the buffer becomes after each run in training."""
        self.graph.set_update(self.parameter(buffer)._value, value._value)

    def op(
        self,
        name: str,
        inputs: Sequence[Tensor | None],
        attributes: dict[str, Any] | None = None,
        *,
        outputs: int = 1,
        domain: str = "",
        node_name: str | None = None,
    ) -> list[Tensor]:
        """Adds a node in the present scope."""
        from lowp.nn.tensor import Tensor

        scope = self._scopes[-1] if self._scopes else ""
        values = [None if t is None else t._value for t in inputs]
        results = self.graph.op(name, values, attributes or {}, outputs, domain, scope + (node_name or name))
        return [Tensor(self, v) for v in results]

    @contextlib.contextmanager
    def scope(self, module: Module) -> Iterator[None]:
        """Names of nodes begin with the module's path."""
        path = self._paths.get(id(module))
        prefix = self._scopes[-1] if path is None and self._scopes else f"{path}." if path else ""
        if module.recompute and prefix and prefix not in self.recompute:
            self.recompute.append(prefix)
        self._scopes.append(prefix)
        try:
            yield
        finally:
            self._scopes.pop()


@contextlib.contextmanager
def tracing(tracer: Tracer) -> Iterator[Tracer]:
    """Makes the tracer the active one."""
    _active.append(tracer)
    try:
        yield tracer
    finally:
        _active.pop()


def active() -> Tracer:
    """The tracer that modules add nodes to. Raises InvalidArgument where there is none."""
    if not _active:
        raise errors.InvalidArgument(
            "functions of lowp.nn work on tensors of a model's forward(); call the model with arrays,"
            " or use lowp.Trainer"
        )
    return _active[-1]


def is_tracing() -> bool:
    """Whether a forward() is being traced."""
    return bool(_active)
