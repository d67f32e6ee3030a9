"""Reads the tensors of a PyTorch checkpoint in the legacy format (before PyTorch 1.6) without PyTorch.

The format: a magic number, a protocol number and information about the system, each pickled; then the pickled state,
in which tensors are (storage, offset, size, stride); then the storages' keys, pickled; then for each key an int64
number of elements and the elements, little-endian.

The pickles are untrusted. Nothing in them can name code: find_class gives harmless stand-ins and refuses the rest.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from lowp import errors

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAX_BYTES = 1 << 32
_STORAGE_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    elements: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _StorageType:
    def __init__(self, name: str) -> None:
        self.dtype = np.dtype(_STORAGE_DTYPES[name])


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    numbers = [offset, *size, *stride]
    if not isinstance(storage, _Storage) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise pickle.UnpicklingError("a tensor's description is damaged")
    if len(size) != len(stride):
        raise pickle.UnpicklingError(f"a tensor has {len(size)} extents and {len(stride)} strides")
    return _Tensor(storage, offset, tuple(size), tuple(stride))


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGE_DTYPES:
            return _StorageType(name)
        raise pickle.UnpicklingError(f"the checkpoint wants {module}.{name}, which is not tensor data")

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType() as kind, str(key), str(), int(elements), None):
                return _Storage(key, kind.dtype, elements)
        raise pickle.UnpicklingError(f"the checkpoint has a reference that is not a storage: {pid!r:.100}")


def _read_storage(file: BinaryIO, storage: _Storage) -> np.ndarray[Any, Any]:
    count = int.from_bytes(file.read(8), "little", signed=True)
    size = count * storage.dtype.itemsize
    if count != storage.elements or not 0 <= size <= _MAX_BYTES:
        raise pickle.UnpicklingError(f"storage {storage.key} has {count} elements, {storage.elements} are announced")
    data = file.read(size)
    if len(data) != size:
        raise pickle.UnpicklingError(f"storage {storage.key} is cut off: {len(data)} of {size} bytes")
    return np.frombuffer(data, storage.dtype.newbyteorder("<"))


def _tensor(data: np.ndarray[Any, Any], t: _Tensor) -> np.ndarray[Any, Any]:
    if 0 not in t.size:
        last = t.offset + sum((n - 1) * s for n, s in zip(t.size, t.stride, strict=True))
        if last >= data.size:
            raise pickle.UnpicklingError(f"a tensor reads element {last} of a storage of {data.size}")
    strides = [s * data.itemsize for s in t.stride]
    view = np.lib.stride_tricks.as_strided(data[t.offset :], t.size, strides, writeable=False)
    return np.ascontiguousarray(view).reshape(t.size)


def _storages(tensors: Sequence[Any]) -> dict[str, _Storage]:
    return {t.storage.key: t.storage for t in tensors if isinstance(t, _Tensor)}


def read_state_dict(file: BinaryIO) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a state dict by name, contiguous.

    Raises:
        CorruptFile: another format, damaged, or something that is not tensor data.
    """
    try:
        if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _PROTOCOL:
            raise pickle.UnpicklingError("not a checkpoint in PyTorch's legacy format")
        system = _Unpickler(file).load()
        if not (isinstance(system, dict) and system.get("little_endian") is True):
            raise pickle.UnpicklingError("the checkpoint was written on a big-endian machine")
        state = _Unpickler(file).load()
        keys = _Unpickler(file).load()
        if not isinstance(state, dict) or not isinstance(keys, list):
            raise pickle.UnpicklingError("the checkpoint is not a state dict")
        storages = _storages(list(state.values()))
        data = {key: _read_storage(file, storages[key]) for key in keys}
        return {str(name): _tensor(data[t.storage.key], t) for name, t in state.items() if isinstance(t, _Tensor)}
    except errors.Error:
        raise
    except Exception as e:  # a damaged pickle fails in any way it likes
        raise errors.CorruptFile(f"the checkpoint cannot be read: {e}") from e
