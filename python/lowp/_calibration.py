"""Calibration samples: dicts of arrays, from Python or from .npz files, one in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowp import errors
from lowp._arrays import TensorInfo, to_buffers

Sample = Mapping[str, Any]
# A sample; an .npz file (one sample); a folder of them, in the order of their names; or an iterable of these.
Calibration = Sample | str | os.PathLike[str] | Iterable["Sample | str | os.PathLike[str]"]


def _read_npz(path: Path) -> Sample:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise errors.NotFound(f"calibration file '{path}' does not exist") from None
    except (ValueError, OSError, EOFError, AttributeError) as e:
        raise errors.CalibrationError(f"calibration file '{path}' is not an .npz file of plain arrays: {e}") from e


def _expand(item: Any) -> list[Any]:
    if not isinstance(item, (str, os.PathLike)):
        return [item]
    path = Path(item)
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.npz"))
    if not files:
        raise errors.CalibrationError(f"calibration folder '{path}' has no .npz files")
    return list(files)


def _items(calibration: Any) -> Iterator[Any]:
    if isinstance(calibration, (Mapping, str, os.PathLike)):
        yield from _expand(calibration)
        return
    for item in calibration:
        yield from _expand(item)


class Samples:
    """Iterators over samples in the form that the core wants."""

    def __init__(self, infos: Sequence[TensorInfo], calibration: Calibration) -> None:
        if not isinstance(calibration, (str, os.PathLike, Iterable)):
            raise errors.InvalidArgument(
                f"calibration is a {type(calibration).__name__}; an iterable of dicts, an .npz file or a folder of"
                " .npz files is wanted"
            )
        self._infos = infos
        self._calibration = calibration
        self._used = False

    @property
    def size(self) -> int:
        """Number of samples, -1 where it is not known beforehand."""
        c = self._calibration
        if isinstance(c, (Mapping, str, os.PathLike)):
            return len(_expand(c))
        if isinstance(c, Sequence):
            return sum(len(_expand(item)) for item in c)
        return -1

    def factory(self) -> Callable[[], Iterator[Any]]:
        """What the core calls to read from the start."""
        return self._iterate

    def _iterate(self) -> Iterator[Any]:
        if self._used and isinstance(self._calibration, Iterator):
            raise errors.CalibrationError("calibration samples from a generator can be read only once")
        self._used = True
        return self._buffers()

    def _buffers(self) -> Iterator[Any]:
        for number, item in enumerate(_items(self._calibration)):
            where = f"calibration sample {number}"
            if isinstance(item, Path):
                where += f" ('{item}')"
                item = _read_npz(item)
            try:
                yield to_buffers(self._infos, item)
            except errors.Error as e:
                raise type(e)(f"{where}: {e}") from None
