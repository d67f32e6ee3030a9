"""Checkpoints: one safetensors file with all tensors by name, and what else a run needs to go on as JSON in its header.

A file appears under its name whole or not at all: it is written beside it, flushed to the disk and renamed, and the
folder is flushed too. Each tensor has a checksum, so that damage is found and the tensor named.

>>> folder = CheckpointFolder("runs/a", keep=3)
>>> folder.save(tensors, Metadata(step=100, epoch=1, loader=loader.state(), metric=0.31))
>>> found = latest("runs/a")
>>> weights = match(found.tensors, {name: p.value for name, p in model.parameters()})
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import os
import re
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lowp import errors

Array = np.ndarray[Any, Any]
PathLike = str | os.PathLike[str]

# Goes up when an older lowp could not read what is written.
_FORMAT = 1
_NAME = re.compile(r"step-(\d+)\.safetensors")
_MAX_LISTED = 5


def _version() -> str:
    from lowp._core import version

    return version()


@dataclass(frozen=True)
class Metadata:
    """What a run needs beside its tensors; all of it must be JSON.

    `loader` is :meth:`lowp.data.Loader.state`, `recipe_digest` :attr:`lowp.train.recipe.Recipe.digest`, `metric` what
    the best checkpoint is chosen by, and `extra` anything else (states of a schedule, of early stopping).
    """

    step: int
    epoch: int = 0
    loader: dict[str, Any] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    loss_scale: float = 1.0
    recipe_digest: str = ""
    metric: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    lowp_version: str = field(default_factory=_version)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read: its file, tensors by name, and metadata."""

    path: Path
    tensors: dict[str, Array]
    metadata: Metadata


def _checksum(name: str, array: Array) -> int:
    """CRC-32 of the tensor's name, dtype, shape and bytes."""
    start = zlib.crc32(f"{name} {array.dtype.name} {list(array.shape)}".encode())
    # bfloat16 has no buffer interface of its own.
    return zlib.crc32(array.reshape(-1).view(np.uint8), start) if array.size else start


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _remove_leftovers(folder: Path) -> None:
    """What processes that were killed while they wrote left behind."""
    for leftover in folder.glob(".writing-*-*"):
        process = leftover.name.split("-")[1]
        if process.isdigit() and not _alive(int(process)):
            shutil.rmtree(leftover, ignore_errors=True)


def _need_safetensors() -> None:
    try:
        import safetensors  # noqa: F401
    except ImportError as e:
        raise errors.Unsupported("checkpoints need the package safetensors: pip install lowp[train]") from e


def _write(path: Path, tensors: dict[str, Array], header: dict[str, str]) -> None:
    from safetensors.numpy import save_file

    save_file(tensors, path, metadata=header)


def save(path: PathLike, tensors: Mapping[str, Array], metadata: Metadata) -> Path:
    """Writes a checkpoint; whatever happens meanwhile, `path` is then what it was before or the whole new one.

    Args:
        path: of the file; its folder is made.
        tensors: arrays by name, bfloat16 and FP8 as ml_dtypes has them.
        metadata: see :class:`Metadata`.

    Raises:
        InvalidArgument: metadata that is no JSON; a tensor called "__metadata__".
        IoError: the disk is full, or another refusal of the operating system. Nothing is lost by it.
    """
    _need_safetensors()
    target = Path(path)
    arrays = {name: np.asarray(a, order="C") for name, a in tensors.items()}
    if "__metadata__" in arrays:
        raise errors.InvalidArgument("a tensor cannot be called '__metadata__'")
    checksums = {name: _checksum(name, a) for name, a in arrays.items()}
    try:
        text = json.dumps({"format": _FORMAT, "checksums": checksums, **dataclasses.asdict(metadata)}, allow_nan=True)
    except (TypeError, ValueError) as e:
        raise errors.InvalidArgument(f"the checkpoint's metadata cannot be written as JSON: {e}") from None
    header = {"lowp": text, "lowp_crc32": str(zlib.crc32(text.encode()))}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target.parent)
        with tempfile.TemporaryDirectory(prefix=f".writing-{os.getpid()}-", dir=target.parent) as writing:
            temporary = Path(writing) / target.name
            _write(temporary, arrays, header)
            # safetensors makes a file that only its owner may read; a run's results are as readable as their folder.
            temporary.chmod(target.parent.stat().st_mode & 0o666)
            _sync(temporary)
            os.replace(temporary, target)
        _sync(target.parent)
    except Exception as e:
        raise _write_error(target, sum(a.nbytes for a in arrays.values()), e) from e
    return target


def _write_error(target: Path, size: int, cause: Exception) -> errors.IoError:
    message = f"checkpoint '{target}' cannot be written: {cause}"
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(target.parent).free
        if free < size or "No space" in str(cause):
            message += f" ({size / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB are free)"
    return errors.IoError(message + "; earlier checkpoints are as they were")


def _parse(path: Path, header: Mapping[str, str] | None) -> tuple[Metadata, dict[str, int]]:
    text = (header or {}).get("lowp")
    if text is None or header is None:
        raise errors.CorruptFile(f"'{path}' is a safetensors file, but no checkpoint of lowp")
    if str(zlib.crc32(text.encode())) != header.get("lowp_crc32"):
        raise errors.CorruptFile(f"checkpoint '{path}' is damaged: its metadata has another checksum than was written")
    values = json.loads(text)
    if values.pop("format") > _FORMAT:
        raise errors.VersionError(
            f"checkpoint '{path}' was written by lowp {values['lowp_version']}, newer than this one"
        )
    checksums = values.pop("checksums")
    # A later version may add fields without a new format.
    known = {f.name for f in dataclasses.fields(Metadata)}
    return Metadata(**{k: v for k, v in values.items() if k in known}), checksums


@contextlib.contextmanager
def _reading(path: Path) -> Any:
    _need_safetensors()
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise errors.NotFound(f"checkpoint '{path}' does not exist")
    try:
        with safe_open(path, framework="np") as file:
            yield file
    except SafetensorError as e:
        raise errors.CorruptFile(f"checkpoint '{path}' is damaged: {e}") from None
    except OSError as e:
        if isinstance(e, errors.Error):
            raise
        raise errors.IoError(f"checkpoint '{path}' cannot be read: {e}") from None


def read_metadata(path: PathLike) -> Metadata:
    """A checkpoint's metadata alone; its tensors are neither read nor checked.

    Raises:
        NotFound, CorruptFile, VersionError: as :func:`load`.
    """
    with _reading(Path(path)) as file:
        return _parse(Path(path), file.metadata())[0]


def load(path: PathLike) -> Checkpoint:
    """Reads a checkpoint and checks every tensor.

    Raises:
        NotFound: no such file.
        CorruptFile: truncated or changed, or no checkpoint; a damaged tensor is named.
        VersionError: written by a newer lowp, in a form this one does not know.
    """
    path = Path(path)
    with _reading(path) as file:
        metadata, checksums = _parse(path, file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    if tensors.keys() != checksums.keys():
        raise errors.CorruptFile(f"checkpoint '{path}' is damaged: it has other tensors than were written")
    for name, array in tensors.items():
        if _checksum(name, array) != checksums[name]:
            raise errors.CorruptFile(f"checkpoint '{path}' is damaged: tensor '{name}' is not what was written")
    return Checkpoint(path, tensors, metadata)


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Steps and files of the folder's checkpoints, the last step first."""
    found = [(int(m[1]), p) for p in folder.glob("step-*.safetensors") if (m := _NAME.fullmatch(p.name))]
    return sorted(found, reverse=True)


def latest(folder: PathLike) -> Checkpoint | None:
    """The folder's checkpoint of the last step that is whole; None without one.

    Damaged ones are passed over with a warning, and left where they are.

    Raises:
        VersionError: the newest was written by a newer lowp: going on from an older one would lose work unseen.
    """
    for _, path in _numbered(Path(folder)):
        try:
            return load(path)
        except errors.CorruptFile as e:
            warnings.warn(f"{e}; trying the one before", RuntimeWarning, stacklevel=2)
    return None


class CheckpointFolder:
    """Keeps the last checkpoints of a run, and the best one; one process writes to it.

    Files are called ``step-00000100.safetensors``.

    Args:
        folder: made where it does not exist.
        keep: how many of the last to keep, at least 1; the one with the best metric stays beside them.
        larger_is_better: whether the metric grows as the model improves.
    """

    def __init__(self, folder: PathLike, keep: int = 3, larger_is_better: bool = False) -> None:
        if keep < 1:
            raise errors.InvalidArgument(f"keep is {keep}; 1 or more is wanted")
        self.folder = Path(folder)
        self._keep, self._larger = keep, larger_is_better

    def save(self, tensors: Mapping[str, Array], metadata: Metadata) -> Path:
        """Writes the checkpoint of a step, then removes those that are no longer kept. Raises as :func:`save`."""
        if metadata.step < 0:
            raise errors.InvalidArgument(f"step is {metadata.step}; 0 or more is wanted")
        path = save(self.folder / f"step-{metadata.step:08d}.safetensors", tensors, metadata)
        best = self._best_path()
        for _, old in _numbered(self.folder)[self._keep :]:
            if old not in (path, best):
                old.unlink(missing_ok=True)
        return path

    def latest(self) -> Checkpoint | None:
        """See :func:`latest`."""
        return latest(self.folder)

    def best(self) -> Checkpoint | None:
        """The checkpoint with the best metric, of equal ones the earliest; None where none has a metric.

        Raises:
            CorruptFile: it is damaged.
        """
        path = self._best_path()
        return load(path) if path else None

    def _best_path(self) -> Path | None:
        best: tuple[float, Path] | None = None
        for _, path in reversed(_numbered(self.folder)):
            try:
                metric = read_metadata(path).metric
            except (errors.CorruptFile, errors.VersionError):
                continue
            if metric is None or np.isnan(metric):
                continue
            if best is None or (metric > best[0] if self._larger else metric < best[0]):
                best = metric, path
        return best[1] if best else None


def _listed(names: Iterable[str], others: Iterable[str]) -> str:
    names, others = sorted(names), list(others)
    parts = []
    for name in names[:_MAX_LISTED]:
        near = difflib.get_close_matches(name, others, 1)
        parts.append(f"'{name}'" + (f" (nearest: '{near[0]}')" if near else ""))
    return ", ".join(parts) + (f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else "")


def match(tensors: Mapping[str, Array], wanted: Mapping[str, Any]) -> dict[str, Array]:
    """The checkpoint's tensors, where they are exactly those of the model.

    Args:
        tensors: of a checkpoint, by name.
        wanted: what the model has, by name: arrays, or anything with `shape` and `dtype`.

    Raises:
        InvalidArgument: names that only one side has; the message lists them with the nearest of the other side.
        ShapeMismatch, TypeMismatch: the message names the tensor and both shapes or dtypes.
    """
    missing, unknown = wanted.keys() - tensors.keys(), tensors.keys() - wanted.keys()
    problems = []
    if missing:
        problems.append(f"the checkpoint lacks {_listed(missing, unknown or tensors)}")
    if unknown:
        problems.append(f"the model does not know {_listed(unknown, missing or wanted)}")
    if problems:
        raise errors.InvalidArgument("; ".join(problems))
    for name, value in wanted.items():
        if tuple(tensors[name].shape) != tuple(value.shape):
            raise errors.ShapeMismatch(
                f"tensor '{name}' has shape {list(tensors[name].shape)} in the checkpoint,"
                f" {list(value.shape)} in the model"
            )
        if tensors[name].dtype != value.dtype:
            raise errors.TypeMismatch(
                f"tensor '{name}' is {tensors[name].dtype} in the checkpoint, {value.dtype} in the model"
            )
    return {name: tensors[name] for name in wanted}
