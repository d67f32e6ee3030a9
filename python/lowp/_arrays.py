"""Arrays on their way into and out of the core: names, dtypes and layout are checked here, shapes in the core."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from lowp import errors

# The core's names of dtypes.
DTYPES: dict[str, np.dtype[Any]] = {
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f64": np.dtype(np.float64),
    "i8": np.dtype(np.int8),
    "u8": np.dtype(np.uint8),
    "i16": np.dtype(np.int16),
    "u16": np.dtype(np.uint16),
    "i32": np.dtype(np.int32),
    "u32": np.dtype(np.uint32),
    "i64": np.dtype(np.int64),
    "u64": np.dtype(np.uint64),
    "bool": np.dtype(np.bool_),
    "f8e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "f8e4m3fnuz": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "f8e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "f8e5m2fnuz": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "f8e8m0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "f4e2m1": np.dtype(ml_dtypes.float4_e2m1fn),
    "i4": np.dtype(ml_dtypes.int4),
    "u4": np.dtype(ml_dtypes.uint4),
    "i2": np.dtype(ml_dtypes.int2),
    "u2": np.dtype(ml_dtypes.uint2),
}
# The core keeps several elements of these in a byte, low bits first; ml_dtypes has one in each.
_PACKED_BITS = {"f4e2m1": 4, "i4": 4, "u4": 4, "i2": 2, "u2": 2}
_BUFFER_KINDS = "fiub"  # dtypes that the buffer protocol knows; the others travel as unsigned integers

Shape = tuple[int | str | None, ...]


@dataclass(frozen=True)
class TensorInfo:
    """An input or output. An extent is a number, a symbol ("N"), or None; shape is None where the rank is not known."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape | None
    _core_dtype: str

    def __repr__(self) -> str:
        extents = "..." if self.shape is None else ", ".join("?" if n is None else str(n) for n in self.shape)
        return f"TensorInfo({self.name!r}, {self.dtype.name}, [{extents}])"


def tensor_infos(described: Iterable[tuple[str, str, Shape | None]]) -> tuple[TensorInfo, ...]:
    """From the core's descriptions."""
    return tuple(TensorInfo(name, DTYPES[dtype], shape, dtype) for name, dtype, shape in described)


def _as_array(info: TensorInfo, value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, np.generic):
        return np.asarray(value)
    if hasattr(value, "__dlpack__"):
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError) as e:
            raise errors.TypeMismatch(f"input '{info.name}': a {type(value).__name__} cannot be read: {e}") from e
    # Python's numbers have no width: they take the input's, unless that loses something.
    array = np.asarray(value)
    if array.dtype != info.dtype and np.can_cast(array.dtype, info.dtype, "same_kind"):
        array = array.astype(info.dtype)
    return array


def to_buffer(info: TensorInfo, value: Any) -> tuple[np.ndarray[Any, Any], tuple[int, ...]]:
    """A contiguous array of a dtype that the buffer protocol knows, and the shape. Copies where the layout differs.

    Raises TypeMismatch.
    """
    array = value if type(value) is np.ndarray else _as_array(info, value)
    if array.dtype != info.dtype:
        raise errors.TypeMismatch(
            f"input '{info.name}' is {array.dtype}, the model wants {info.dtype.name}"
            f" (convert it with .astype({info.dtype.name!r}))"
        )
    shape = array.shape
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array).reshape(shape)
    if info._core_dtype in _PACKED_BITS:
        return _pack(array, _PACKED_BITS[info._core_dtype]), shape
    if array.dtype.kind not in _BUFFER_KINDS:
        array = array.view(np.uint16 if array.dtype.itemsize == 2 else np.uint8)
    return array, shape


def to_buffers(
    infos: Sequence[TensorInfo], values: Mapping[str, Any], what: str = "input"
) -> list[tuple[np.ndarray[Any, Any], tuple[int, ...]]]:
    """Buffers in the order of `infos`. Raises InvalidArgument where one is missing or unknown, and TypeMismatch."""
    if not isinstance(values, Mapping):
        raise errors.TypeMismatch(f"{what}s are a {type(values).__name__}, a dict of arrays is wanted")
    if len(values) != len(infos) or any(i.name not in values for i in infos):
        names = [i.name for i in infos]
        missing = [repr(n) for n in names if n not in values]
        unknown = [repr(n) for n in values if n not in names]
        problems = [f"{what} {', '.join(n)} is {p}" for n, p in ((missing, "missing"), (unknown, "unknown")) if n]
        raise errors.InvalidArgument(f"{'; '.join(problems)} (the model's inputs are {', '.join(map(repr, names))})")
    return [to_buffer(i, values[i.name]) for i in infos]


def from_buffer(info: TensorInfo, array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """The core's output as an array of the output's dtype."""
    if info._core_dtype in _PACKED_BITS:
        return _unpack(array, _PACKED_BITS[info._core_dtype], int(np.prod(shape))).view(info.dtype).reshape(shape)
    return array if array.dtype == info.dtype else array.view(info.dtype)


def _pack(array: np.ndarray[Any, Any], bits: int) -> np.ndarray[Any, Any]:
    per_byte = 8 // bits
    flat = array.reshape(-1).view(np.uint8) & ((1 << bits) - 1)
    padded = np.zeros(-(-flat.size // per_byte) * per_byte, np.uint8)
    padded[: flat.size] = flat
    shifts = np.arange(per_byte, dtype=np.uint8) * bits
    return np.bitwise_or.reduce(padded.reshape(-1, per_byte) << shifts, axis=1).astype(np.uint8)


def _unpack(array: np.ndarray[Any, Any], bits: int, count: int) -> np.ndarray[Any, Any]:
    shifts = np.arange(8 // bits, dtype=np.uint8) * bits
    return ((array[:, None] >> shifts) & ((1 << bits) - 1)).reshape(-1)[:count].astype(np.uint8)


assert sys.byteorder == "little", "lowp needs a little-endian machine"
