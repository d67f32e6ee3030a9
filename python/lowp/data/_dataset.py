"""What a data set is, arrays as one, and samples joined to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lowp import errors
from lowp.data._random import permutation

Array = np.ndarray[Any, Any]
# A sample or a batch: arrays by name, or in order.
Sample = Mapping[str, Any] | tuple[Any, ...]
Batch = dict[str, Array] | tuple[Array, ...]


class Dataset(Protocol):
    """Samples by number: ``len(d)`` of them, ``d[i]`` a dict or tuple of arrays or numbers, i in 0 .. len - 1."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@runtime_checkable
class BatchDataset(Protocol):
    """A data set that makes a batch at once: what ``collate([d[i] for i in indices])`` gives, without Python's loop."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...

    def take(self, indices: Array, /) -> Batch:
        """The samples of int64 [n] `indices` as arrays [n, ...]."""
        ...


@runtime_checkable
class EpochDataset(Protocol):
    """Data that differ from epoch to epoch, such as sampled negatives; their number does not."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...

    def for_epoch(self, epoch: int, /) -> Dataset:
        """The samples of an epoch: a function of its number, so that it can be made again."""
        ...


def check_labels(labels: Array, classes: int, what: str = "labels") -> Array:
    """The labels, where all are classes.

    Raises:
        TypeMismatch: not integers.
        InvalidArgument: a label outside 0 .. classes - 1; the message names the first sample that has one.
    """
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise errors.TypeMismatch(f"{what} are {labels.dtype}, integers are wanted")
    wrong = np.flatnonzero((labels.reshape(-1) < 0) | (labels.reshape(-1) >= classes))
    if len(wrong):
        sample = int(wrong[0]) // (labels.size // max(len(labels), 1) if labels.ndim > 1 else 1)
        raise errors.InvalidArgument(
            f"{what}: sample {sample} has label {labels.reshape(-1)[wrong[0]]}, 0 to {classes - 1} is wanted"
            f" ({len(wrong)} of {labels.size} are wrong)"
        )
    return labels


class ArrayDataset:
    """Arrays whose first axis counts samples.

    >>> data = ArrayDataset({"x": images, "label": labels}, classes={"label": 10})

    Args:
        arrays: arrays [n, ...] by name (samples are dicts), or a sequence of them (samples are tuples). Not copied.
        classes: number of classes of the named integer arrays, whose values are checked.

    Raises:
        InvalidArgument: no array or no sample; a label that is no class.
        ShapeMismatch: arrays of different lengths.
    """

    def __init__(self, arrays: Mapping[str, Array] | Sequence[Array], classes: Mapping[str, int] | None = None) -> None:
        self._named = isinstance(arrays, Mapping)
        items = arrays.items() if isinstance(arrays, Mapping) else ((str(i), a) for i, a in enumerate(arrays))
        self._arrays = {name: np.asarray(a) for name, a in items}
        if not self._arrays:
            raise errors.InvalidArgument("the data set has no array")
        for name, array in self._arrays.items():
            if array.ndim == 0:
                raise errors.ShapeMismatch(f"array '{name}' is a single number, [samples, ...] is wanted")
        (first, array), *others = self._arrays.items()
        self._length = len(array)
        for name, other in others:
            if len(other) != self._length:
                raise errors.ShapeMismatch(
                    f"array '{name}' has {len(other)} samples, array '{first}' has {self._length}"
                )
        if self._length == 0:
            raise errors.InvalidArgument(f"the data set is empty: array '{first}' has shape {list(array.shape)}")
        for name, count in (classes or {}).items():
            if name not in self._arrays:
                raise errors.InvalidArgument(f"classes names '{name}'; the arrays are {', '.join(self._arrays)}")
            check_labels(self._arrays[name], count, f"array '{name}'")

    @property
    def arrays(self) -> dict[str, Array]:
        """All samples, by name; those of a sequence are called "0", "1", ..."""
        return self._arrays

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self._length:
            raise IndexError(f"sample {index} of {self._length}")
        return self._pack({name: a[index] for name, a in self._arrays.items()})

    def take(self, indices: Array) -> Batch:
        """The samples of int64 [n] `indices` as arrays [n, ...]."""
        return self._pack({name: a[indices] for name, a in self._arrays.items()})

    def _pack(self, values: dict[str, Any]) -> Any:
        return values if self._named else tuple(values.values())


class Subset:
    """Some samples of a data set, in the order of `indices` [n]."""

    def __init__(self, dataset: Dataset, indices: Sequence[int] | Array) -> None:
        self._dataset = dataset
        self._indices = np.asarray(indices, np.int64)
        outside = self._indices[(self._indices < 0) | (self._indices >= len(dataset))]
        if len(outside):
            raise errors.InvalidArgument(f"index {outside[0]} is outside a data set of {len(dataset)} samples")

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._dataset[int(self._indices[index])]

    def take(self, indices: Array) -> Batch:
        """As :meth:`ArrayDataset.take`."""
        return gather(self._dataset, self._indices[indices])


def split(dataset: Dataset, part: float, seed: int = 0) -> tuple[Subset, Subset]:
    """The samples to train on, and a random `part` of them held out; which ones, `seed` says.

    Raises:
        InvalidArgument: a part outside 0..1, or one that leaves either side empty.
    """
    n = len(dataset)
    held_out = round(n * part) if 0 < part < 1 else 0
    if not 0 < held_out < n:
        raise errors.InvalidArgument(f"part is {part}: {held_out} of {n} samples are no part that can be held out")
    order = permutation(n, seed, "split")
    return Subset(dataset, order[held_out:]), Subset(dataset, order[:held_out])


def gather(dataset: Dataset, indices: Array) -> Batch:
    """The batch of these samples: the data set's own `take` where it has one, else :func:`collate`."""
    if isinstance(dataset, BatchDataset):
        return dataset.take(indices)
    return collate([dataset[int(i)] for i in indices], indices)


def _stack(values: Sequence[Any], name: str, numbers: Sequence[int] | Array) -> Array:
    arrays = [np.asarray(v) for v in values]
    for array, number in zip(arrays, numbers, strict=True):
        if array.shape != arrays[0].shape:
            raise errors.ShapeMismatch(
                f"sample {number}: '{name}' has shape {list(array.shape)}, sample {numbers[0]} of the same batch has"
                f" {list(arrays[0].shape)}; pad them, or give the loader a collate function"
            )
        if array.dtype != arrays[0].dtype:
            raise errors.TypeMismatch(
                f"sample {number}: '{name}' is {array.dtype}, sample {numbers[0]} of the same batch has"
                f" {arrays[0].dtype}"
            )
    return np.stack(arrays)


def collate(samples: Sequence[Sample], numbers: Sequence[int] | Array | None = None) -> Batch:
    """Samples joined along a new first axis.

    Args:
        samples: dicts with the same names, or tuples of the same length, of arrays or numbers.
        numbers: what the samples are called in messages; their place in `samples` without it.

    Raises:
        InvalidArgument: no sample; a name that one sample has and another lacks.
        ShapeMismatch, TypeMismatch: arrays of different shapes or dtypes; the message names the sample.
    """
    if not len(samples):
        raise errors.InvalidArgument("a batch of no samples cannot be made")
    numbers = range(len(samples)) if numbers is None else numbers
    first = samples[0]
    if isinstance(first, Mapping):
        for sample, number in zip(samples, numbers, strict=True):
            if not isinstance(sample, Mapping) or sample.keys() != first.keys():
                has = ", ".join(sample) if isinstance(sample, Mapping) else f"a {type(sample).__name__}"
                raise errors.InvalidArgument(f"sample {number} has {has}; sample {numbers[0]} has {', '.join(first)}")
        return {name: _stack([s[name] for s in samples], name, numbers) for name in first}  # type: ignore[call-overload]
    if not isinstance(first, tuple):
        raise errors.TypeMismatch(f"sample {numbers[0]} is a {type(first).__name__}; a dict or a tuple is wanted")
    for sample, number in zip(samples, numbers, strict=True):
        if not isinstance(sample, tuple) or len(sample) != len(first):
            has = len(sample) if isinstance(sample, tuple) else f"no tuple ({type(sample).__name__}) of"
            raise errors.InvalidArgument(f"sample {number} has {has} values, sample {numbers[0]} has {len(first)}")
    return tuple(_stack([s[i] for s in samples], str(i), numbers) for i in range(len(first)))  # type: ignore[index]
