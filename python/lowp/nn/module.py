"""Modules: what a model is built of. Parameters, buffers and other modules are attributes; forward() computes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

import numpy as np

from lowp import errors
from lowp.nn._trace import active, is_tracing
from lowp.nn.tensor import Tensor

_ALIGNMENT = 64


def aligned_empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """An array that begins at a multiple of 64 bytes, as kernels like it."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def aligned(array: Any) -> np.ndarray[Any, Any]:
    """A copy that begins there."""
    array = np.asarray(array)
    result = aligned_empty(array.shape, array.dtype)
    result[...] = array
    return result


class Parameter:
    """An array that training changes.

    Sessions that run the model use the array's memory: what they write is seen in `data` at once, and what is written
    to `data` (``data[...] = x``) is used by the next run.

    Attributes:
        data: the master copy, f32.
        trained: False keeps it as it is (PyTorch's ``requires_grad``).
        weight_decay: False for what is not decayed (biases, scales of normalizations).
        sparse: of a table of vectors, a step changes only the rows that the batch looked up.
    """

    def __init__(self, data: Any, *, trained: bool = True, weight_decay: bool = True, sparse: bool = False) -> None:
        self._data = aligned(data)
        self.trained = trained
        self.weight_decay = weight_decay
        self.sparse = sparse

    @property
    def data(self) -> np.ndarray[Any, Any]:
        """The array; assigning copies into it, as programs that were compiled go on using its memory."""
        return self._data

    @data.setter
    def data(self, content: Any) -> None:
        array = np.asarray(content)
        if array.shape != self._data.shape:
            raise errors.ShapeMismatch(f"the content has shape {list(array.shape)}, the parameter {list(self.shape)}")
        self._data[...] = array

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of a copy, or from a pickle: aligned again."""
        self.__dict__.update(state)
        self._data = aligned(self._data)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents."""
        return self.data.shape

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.data.dtype.name}, {list(self.shape)})"


class Buffer(Parameter):
    """An array that belongs to the model without being trained: running statistics."""

    def __init__(self, data: Any) -> None:
        super().__init__(data, trained=False)


class Module:
    """Base of all modules. Subclasses assign parts in __init__ and define forward()."""

    def __init__(self) -> None:
        self.training = True
        self.recompute = False

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """From symbolic tensors to symbolic tensors."""
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """In forward() of another module: adds this one. With numpy arrays: computes, as in evaluation."""
        if is_tracing():
            with active().scope(self):
                return self.forward(*inputs, **named)
        from lowp.nn._run import run_eagerly

        return run_eagerly(self, inputs, named)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which compile their own programs."""
        return {k: v for k, v in self.__dict__.items() if k != "_programs"}

    # ---- parts

    def _parts(self, kind: type) -> Iterator[tuple[str, Any]]:
        for name, part in self.__dict__.items():
            if isinstance(part, kind):
                yield name, part

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all inside it, with their paths ("layer1.0.conv1")."""
        yield prefix, self
        for name, part in self._parts(Module):
            yield from part.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all inside it."""
        return (m for _, m in self.named_modules())

    def named_states(self) -> Iterator[tuple[str, Parameter]]:
        """Parameters and buffers with their paths; one that is shared appears once, under its first path."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, part in module._parts(Parameter):
                if id(part) not in seen:
                    seen.add(id(part))
                    yield (f"{path}.{name}" if path else name), part

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Parameters with their paths."""
        return ((n, p) for n, p in self.named_states() if not isinstance(p, Buffer))

    def parameters(self) -> Iterator[Parameter]:
        """Parameters."""
        return (p for _, p in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Parameter]]:
        """Buffers with their paths."""
        return ((n, p) for n, p in self.named_states() if isinstance(p, Buffer))

    def children(self) -> Iterator[Module]:
        """Modules that are attributes of this one."""
        return (m for _, m in self._parts(Module))

    # ---- modes

    def train(self, mode: bool = True) -> Module:
        """Dropout drops, batch normalization uses the batch's statistics. Returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """The opposite of :meth:`train`."""
        return self.train(False)

    def freeze(self) -> Module:
        """Keeps the parameters as they are in training."""
        for parameter in self.parameters():
            parameter.trained = False
        return self

    def unfreeze(self) -> Module:
        """The opposite of :meth:`freeze`; a trainer notices at its next step."""
        for parameter in self.parameters():
            parameter.trained = True
        return self

    def freeze_batch_norm(self, frozen: bool = True) -> Module:
        """Batch normalization uses its running statistics in training too and keeps them; scale and bias go on being
        trained. Quantization-aware training ends this way: what is rounded then is what runs. Returns the module."""
        for module in self.modules():
            if hasattr(module, "running_mean"):
                module.frozen = frozen
        return self

    # ---- content

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """Copies of all parameters and buffers by path."""
        return {name: part.data.copy() for name, part in self.named_states()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Takes over parameters and buffers.

        Raises:
            InvalidArgument: names are missing or unknown (with strict).
            ShapeMismatch: names the tensor and both shapes. Nothing is changed then.
        """
        own = dict(self.named_states())
        problems = []
        if strict:
            problems += [f"'{n}' is missing" for n in own if n not in state]
            problems += [f"'{n}' is unknown" for n in state if n not in own]
        if problems:
            raise errors.InvalidArgument("; ".join(problems[:8]) + ("; ..." if len(problems) > 8 else ""))
        arrays = {n: np.asarray(v) for n, v in state.items() if n in own}
        for name, array in arrays.items():
            if array.shape != own[name].shape:
                raise errors.ShapeMismatch(
                    f"'{name}' has shape {list(array.shape)}, the model's has {list(own[name].shape)}"
                )
        for name, array in arrays.items():
            own[name].data[...] = array

    def __repr__(self) -> str:
        lines = [f"({n}): " + repr(m).replace("\n", "\n  ") for n, m in self._parts(Module)]
        inside = "".join(f"\n  {line}" for line in lines)
        return f"{type(self).__name__}({self.describe()}{inside}{chr(10) if lines else ''})"

    def describe(self) -> str:
        """Options, for repr()."""
        return ""


class ModuleList(Module):
    """Modules in a list."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> None:
        """One more."""
        setattr(self, str(len(self)), module)

    def __iter__(self) -> Iterator[Module]:
        return (m for _, m in self._parts(Module))

    def __len__(self) -> int:
        return sum(1 for _ in self._parts(Module))

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> list[Module]: ...
    def __getitem__(self, index: int | slice) -> Module | list[Module]:
        return list(self)[index]


class Sequential(ModuleList):
    """Modules one after another."""

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Tensor) -> Any:
        """All in order."""
        for module in self:
            x = module(x)
        return x


def checkpoint(module: Module) -> Module:
    """Computes what happens inside the module again for the gradients instead of keeping it. Returns the module."""
    module.recompute = True
    return module
