"""Batches in an order that (seed, epoch) fixes, made in a background thread."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np

from lowp import errors
from lowp.data._dataset import Array, Batch, Dataset, EpochDataset, Sample, gather
from lowp.data._random import check_seed, permutation

Collate = Callable[[Sequence[Sample]], Any]
State = dict[str, int | bool]

# Batches of like length are sorted in windows of this many: long enough that a batch holds nearly equal lengths (a
# window's longest over its shortest is spread over 64 batches), short enough that the order stays random.
_WINDOW = 64


class Loader:
    """Batches of a data set, an epoch for each iteration over it.

    >>> loader = Loader(data, batch_size=32, seed=7)
    >>> while loader.epoch < 10:
    ...     for batch in loader:
    ...         step(batch)

    The order is a function of (seed, epoch) alone. With `ranks` > 1 a global batch has ranks x batch_size samples, of
    which rank r takes the r-th part: n ranks see together what one rank with n times the batch sees. An incomplete last
    global batch is divided evenly, its parts differing by one sample at most; every rank gets as many batches.

    Args:
        dataset: the samples. Its `take` makes a whole batch where it has one; its `for_epoch` gives each epoch's.
        batch_size: samples of a batch, of this rank.
        shuffle: another order each epoch; False for the data set's own.
        seed: of the order.
        drop_last: leave out an incomplete last global batch.
        collate: list of samples to a batch, for instance to pad; :func:`lowp.data.collate` without it.
        prefetch: batches made ahead by the background thread; 0 makes them in the caller's.
        rank, ranks: which part of each global batch is this loader's.
        lengths: of the samples, [n]: batches then hold samples of like length, in random order still.

    Raises:
        InvalidArgument: the data set is empty, or too small for one batch; a number is out of range; the last batch
            has fewer samples than there are ranks.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        collate: Collate | None = None,
        prefetch: int = 2,
        rank: int = 0,
        ranks: int = 1,
        lengths: Sequence[int] | Array | None = None,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("prefetch", prefetch, 0), ("ranks", ranks, 1)):
            if value < least:
                raise errors.InvalidArgument(f"{name} is {value}; {least} or more is wanted")
        if not 0 <= rank < ranks:
            raise errors.InvalidArgument(f"rank is {rank}; 0 to {ranks - 1} is wanted")
        self._dataset = dataset
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._seed = check_seed(seed)
        self._collate = collate
        self._prefetch = prefetch
        self._rank, self._ranks = rank, ranks
        self._samples = len(dataset)
        self._global = batch_size * ranks
        if self._samples == 0:
            raise errors.InvalidArgument("the data set is empty")
        self._batches = self._count_batches(drop_last)
        self._lengths = None if lengths is None else np.asarray(lengths)
        if self._lengths is not None and self._lengths.shape != (self._samples,):
            raise errors.ShapeMismatch(f"lengths has shape {list(self._lengths.shape)}, [{self._samples}] is wanted")
        self._epoch = 0
        self._position = 0

    def _count_batches(self, drop_last: bool) -> int:
        full, rest = divmod(self._samples, self._global)
        if drop_last:
            if full == 0:
                raise errors.InvalidArgument(
                    f"the data set has {self._samples} samples, fewer than the {self._global} of one batch over"
                    f" {self._ranks} ranks, and drop_last leaves incomplete ones out"
                )
            return full
        if 0 < rest < self._ranks:
            raise errors.InvalidArgument(
                f"{self._samples} samples leave {rest} for the last batch, fewer than the {self._ranks} ranks;"
                f" set drop_last, or change batch_size ({self._batch_size})"
            )
        return full + (rest > 0)

    def __len__(self) -> int:
        """Batches of an epoch; every rank has as many."""
        return self._batches

    @property
    def epoch(self) -> int:
        """The epoch that the next batch belongs to, from 0."""
        return self.state()["epoch"]

    def state(self) -> State:
        """Where the next batch is, for a checkpoint: the batches prefetched but not yet given do not count."""
        done = self._position == self._batches
        return {
            "epoch": self._epoch + done,
            "position": 0 if done else self._position,
            "seed": self._seed,
            "shuffle": self._shuffle,
            "samples": self._samples,
            "global_batch": self._global,
        }

    def restore(self, state: State) -> None:
        """Goes on with exactly the batch that was next when `state` was taken; takes effect at the next ``iter``.

        The number of ranks may differ from then, as long as the global batch is the same.

        Raises:
            InvalidArgument: the state belongs to another seed, order, data set or global batch.
        """
        for name, value in self.state().items():
            if name not in state:
                raise errors.InvalidArgument(f"the loader's state lacks '{name}'")
            if name not in ("epoch", "position") and state[name] != value:
                raise errors.InvalidArgument(
                    f"the loader's state was taken with {name} {state[name]}, it is {value} here"
                )
        epoch, position = state["epoch"], state["position"]
        if epoch < 0 or not 0 <= position < self._batches:
            raise errors.InvalidArgument(
                f"the loader's state is at epoch {epoch}, batch {position}; an epoch has {self._batches} batches"
            )
        self._epoch, self._position = epoch, position

    def order(self, epoch: int) -> Array:
        """int64 [samples]: the samples of an epoch in their order, before they are cut into global batches."""
        if not self._shuffle:
            return np.arange(self._samples)
        order = permutation(self._samples, self._seed, "order", epoch)
        return order if self._lengths is None else self._bucketed(order, epoch)

    def _bucketed(self, order: Array, epoch: int) -> Array:
        """Sorted by length within windows, the windows cut into global batches, these shuffled (the last stays)."""
        window = _WINDOW * self._global
        parts = [order[i : i + window] for i in range(0, self._samples, window)]
        assert self._lengths is not None
        ordered = np.concatenate([p[np.argsort(self._lengths[p], kind="stable")] for p in parts])
        full = self._samples // self._global
        batches = ordered[: full * self._global].reshape(full, self._global)
        batches = batches[permutation(full, self._seed, "batches", epoch)]
        return np.concatenate([batches.reshape(-1), ordered[full * self._global :]])

    def _part(self, order: Array, batch: int) -> Array:
        whole = order[batch * self._global : (batch + 1) * self._global]
        n = len(whole)
        return whole[n * self._rank // self._ranks : n * (self._rank + 1) // self._ranks]

    def _make(self, dataset: Dataset, indices: Array) -> Any:
        if self._collate is None:
            return gather(dataset, indices)
        return self._collate([dataset[int(i)] for i in indices])

    def _produce(self) -> Generator[Batch, None, None]:
        order = self.order(self._epoch)
        dataset = self._dataset
        if isinstance(dataset, EpochDataset):
            dataset = dataset.for_epoch(self._epoch)
            if len(dataset) != self._samples:
                raise errors.InvalidArgument(
                    f"epoch {self._epoch} of the data set has {len(dataset)} samples, {self._samples} is wanted"
                )
        for batch in range(self._position, self._batches):
            yield self._make(dataset, self._part(order, batch))

    def __iter__(self) -> Iterator[Any]:
        """The rest of the current epoch's batches. Leaving early keeps the place: the next ``iter`` goes on there."""
        if self._position == self._batches:
            self._epoch, self._position = self._epoch + 1, 0
        batches = self._produce() if self._prefetch == 0 else _ahead(self._produce(), self._prefetch)
        with contextlib.closing(batches):
            for batch in batches:
                self._position += 1
                yield batch
        self._epoch, self._position = self._epoch + 1, 0


def _ahead(batches: Iterator[Any], depth: int) -> Generator[Any, None, None]:
    """The same, made up to `depth` ahead by a thread. What that raises is raised here; closing this ends the thread."""
    full: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    stop = threading.Event()

    def put(kind: str, value: Any) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                full.put((kind, value), timeout=0.1)
                return

    def work() -> None:
        try:
            for batch in batches:
                put("batch", batch)
                if stop.is_set():
                    return
            put("end", None)
        except BaseException as e:  # noqa: BLE001 - whatever it is, it belongs to the caller
            put("error", e)

    thread = threading.Thread(target=work, name="lowp-loader", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = full.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stop.set()
        thread.join()
