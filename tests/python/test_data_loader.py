"""Data sets and the loader: the order, resuming, ranks, the thread, and what is refused."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lowp
import lowp.data
from lowp import data
from lowp.data import ArrayDataset, Loader, Subset, collate


def numbers(n):
    return ArrayDataset({"x": np.arange(n, dtype=np.int64)})


def seen(loader):
    return [b["x"].tolist() for b in loader]


def test_an_epoch_gives_every_sample_once_in_another_order_each_time():
    loader = Loader(numbers(103), 10, seed=5)
    first, second = seen(loader), seen(loader)
    assert len(loader) == len(first) == 11
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(103))
    assert first != second != sorted(sum(second, []))
    assert seen(Loader(numbers(103), 10, seed=5)) == first
    assert seen(Loader(numbers(103), 10, seed=6)) != first


def test_the_order_never_changes():
    """Runs are resumed with later versions of lowp and numpy: the order of a seed is part of the interface."""
    assert Loader(numbers(10), 10, seed=3).order(2).tolist() == [8, 1, 9, 7, 5, 6, 3, 0, 4, 2]


def test_drop_last_and_shuffle_off():
    assert seen(Loader(numbers(5), 2, shuffle=False)) == [[0, 1], [2, 3], [4]]
    assert seen(Loader(numbers(5), 2, shuffle=False, drop_last=True)) == [[0, 1], [2, 3]]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 60), st.integers(1, 7), st.integers(0, 25), st.sampled_from([0, 1, 3]), st.booleans(), st.booleans()
)
def test_resuming_goes_on_with_the_next_batch(n, batch, stop, prefetch, drop_last, like_length):
    drop_last = drop_last and n >= batch
    lengths = np.arange(n) % 5 if like_length else None

    def make():
        return Loader(numbers(n), batch, seed=9, prefetch=prefetch, drop_last=drop_last, lengths=lengths)

    def endless(loader):
        while True:
            yield from loader

    whole = endless(make())
    expected = [next(whole)["x"].tolist() for _ in range(stop + 30)]
    interrupted = make()
    batches = endless(interrupted)
    assert [next(batches)["x"].tolist() for _ in range(stop)] == expected[:stop]
    state = interrupted.state()
    batches.close()
    resumed = make()
    resumed.restore(state)
    rest = endless(resumed)
    assert [next(rest)["x"].tolist() for _ in range(30)] == expected[stop:]


def test_leaving_an_epoch_early_keeps_the_place():
    loader = Loader(numbers(6), 2, shuffle=False)
    for batch in loader:
        assert batch["x"].tolist() == [0, 1]
        break
    assert seen(loader) == [[2, 3], [4, 5]]
    assert loader.epoch == 1


@settings(deadline=None, max_examples=60)
@given(st.integers(4, 80), st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_ranks_see_together_what_one_sees(n, batch, ranks, like_length):
    if 0 < n % (batch * ranks) < ranks:
        return
    lengths = np.arange(n) * 7 % 11 if like_length else None
    one = seen(Loader(numbers(n), batch * ranks, seed=1, lengths=lengths))
    parts = [seen(Loader(numbers(n), batch, seed=1, rank=r, ranks=ranks, lengths=lengths)) for r in range(ranks)]
    assert [sum(together, []) for together in zip(*parts, strict=True)] == one
    assert all(p for rank in parts for p in rank)


def test_a_run_on_one_rank_resumes_on_two():
    loader = Loader(numbers(16), 4, seed=2)
    first = next(iter(loader))["x"]
    halves = []
    for rank in range(2):
        half = Loader(numbers(16), 2, seed=2, rank=rank, ranks=2)
        half.restore(loader.state())
        halves.append(next(iter(half))["x"])
    assert not set(first) & set(np.concatenate(halves))
    assert np.concatenate(halves).tolist() == seen(loader)[0]


def test_like_lengths_stand_together():
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 50, 2000)
    spread = [np.ptp(lengths[b["x"]]) for b in Loader(numbers(2000), 20, lengths=lengths)]
    assert np.mean(spread) < 3
    order = np.concatenate([b["x"] for b in Loader(numbers(2000), 20, lengths=lengths)])
    assert sorted(order) == list(range(2000))
    means = [lengths[order[i : i + 20]].mean() for i in range(0, 2000, 20)]
    assert means != sorted(means)


def test_data_of_an_epoch():
    class Growing:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return {"x": index}

        def for_epoch(self, epoch):
            return ArrayDataset({"x": np.arange(4) + 10 * epoch})

    loader = Loader(Growing(), 4, shuffle=False)
    assert [seen(loader) for _ in range(3)] == [[[0, 1, 2, 3]], [[10, 11, 12, 13]], [[20, 21, 22, 23]]]


def loaders_running():
    return [t for t in threading.enumerate() if t.name == "lowp-loader"]


def test_the_thread_works_ahead_and_ends():
    made = []

    class Slow:
        def __len__(self):
            return 100

        def __getitem__(self, index):
            made.append(index)
            return {"x": index}

    batches = iter(Loader(Slow(), 1, shuffle=False, prefetch=3))
    next(batches)
    end = time.monotonic() + 10
    while len(made) < 5 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 5  # one given, three waiting, one in the thread's hands
    batches.close()
    assert not loaders_running()


def test_an_error_in_the_thread_is_raised_in_the_loop():
    class Broken:
        def __len__(self):
            return 9

        def __getitem__(self, index):
            if index == 7:
                raise KeyError("seven")
            return {"x": index}

    got = []
    with pytest.raises(KeyError, match="seven"):
        for batch in Loader(Broken(), 2, shuffle=False):
            got.append(batch["x"].tolist())
    assert got == [[0, 1], [2, 3], [4, 5]]
    assert not loaders_running()


def test_tuples_and_subsets():
    data = ArrayDataset([np.arange(6.0), np.arange(6) * 2])
    assert data[2] == (2.0, 4)
    x, y = next(iter(Loader(Subset(data, [5, 3]), 2, shuffle=False)))
    assert x.tolist() == [5.0, 3.0] and y.tolist() == [10, 6]
    with pytest.raises(lowp.InvalidArgument, match="index 6 is outside a data set of 6 samples"):
        Subset(data, [0, 6])
    with pytest.raises(IndexError):
        data[6]


def test_split():
    train, held_out = data.split(numbers(50), 0.1, seed=4)
    parts = [[int(d[i]["x"]) for i in range(len(d))] for d in (train, held_out)]
    assert [len(p) for p in parts] == [45, 5] and sorted(parts[0] + parts[1]) == list(range(50))
    assert [int(b["x"][0]) for b in Loader(data.split(numbers(50), 0.1, seed=4)[1], 1, shuffle=False)] == parts[1]
    for part in (0, 1, 0.001, -1):
        with pytest.raises(lowp.InvalidArgument, match=f"part is {part}"):
            data.split(numbers(50), part)


def test_ragged_samples_are_named():
    class Ragged:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return {"image": np.zeros((3, 8 if index != 2 else 9), np.float32)}

    with pytest.raises(lowp.ShapeMismatch, match=r"sample 2: 'image' has shape \[3, 9\], sample 0 .* has\n? ?\[3, 8\]"):
        list(Loader(Ragged(), 4, shuffle=False))


@pytest.mark.parametrize(
    "samples, error, message",
    [
        ([], lowp.InvalidArgument, "no samples"),
        ([{"a": 1}, {"b": 1}], lowp.InvalidArgument, "sample 1 has b; sample 0 has a"),
        ([{"a": 1}, (1,)], lowp.InvalidArgument, "sample 1 has a tuple"),
        ([(1, 2), (1,)], lowp.InvalidArgument, "sample 1 has 1 values, sample 0 has 2"),
        ([3, 4], lowp.TypeMismatch, "sample 0 is a int"),
        ([{"a": 1}, {"a": 1.5}], lowp.TypeMismatch, "sample 1: 'a' is float64"),
    ],
)
def test_samples_that_make_no_batch(samples, error, message):
    with pytest.raises(error, match=message):
        collate(samples)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: ArrayDataset({}), lowp.InvalidArgument, "no array"),
        (lambda: ArrayDataset({"x": np.zeros((0, 3))}), lowp.InvalidArgument, r"empty: array 'x' has shape \[0, 3\]"),
        (lambda: ArrayDataset({"x": np.float32(1)}), lowp.ShapeMismatch, "single number"),
        (lambda: ArrayDataset({"x": np.zeros(3), "y": np.zeros(4)}), lowp.ShapeMismatch, "'y' has 4 .* 'x' has 3"),
        (
            lambda: ArrayDataset({"y": np.array([0, 1, 10, -1])}, classes={"y": 10}),
            lowp.InvalidArgument,
            r"sample 2 has label 10, 0 to 9 is wanted \(2 of 4 are wrong\)",
        ),
        (
            lambda: ArrayDataset({"y": np.array([[0, 1], [1, 5]])}, classes={"y": 5}),
            lowp.InvalidArgument,
            "sample 1 has label 5",
        ),
        (lambda: ArrayDataset({"y": np.zeros(3)}, classes={"y": 10}), lowp.TypeMismatch, "float64"),
        (lambda: ArrayDataset({"y": np.zeros(3)}, classes={"z": 10}), lowp.InvalidArgument, "names 'z'"),
        (lambda: Loader(Subset(numbers(3), []), 1), lowp.InvalidArgument, "the data set is empty"),
        (lambda: Loader(numbers(3), 0), lowp.InvalidArgument, "batch_size is 0"),
        (lambda: Loader(numbers(3), 1, rank=2, ranks=2), lowp.InvalidArgument, "rank is 2; 0 to 1"),
        (lambda: Loader(numbers(3), 1, seed=-1), lowp.InvalidArgument, "seed is -1"),
        (lambda: Loader(numbers(3), 4, drop_last=True), lowp.InvalidArgument, "3 samples, fewer than the 4"),
        (lambda: Loader(numbers(9), 1, rank=0, ranks=4), lowp.InvalidArgument, "leave 1 for the last batch"),
        (lambda: Loader(numbers(9), 1, lengths=[1]), lowp.ShapeMismatch, r"lengths has shape \[1\], \[9\]"),
    ],
)
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_state_of_something_else_is_refused():
    state = Loader(numbers(10), 2, seed=1).state()
    with pytest.raises(lowp.InvalidArgument, match="taken with seed 1, it is 2 here"):
        Loader(numbers(10), 2, seed=2).restore(state)
    with pytest.raises(lowp.InvalidArgument, match="samples 10, it is 11"):
        Loader(numbers(11), 2, seed=1).restore(state)
    with pytest.raises(lowp.InvalidArgument, match="lacks 'epoch'"):
        Loader(numbers(10), 2, seed=1).restore({})
    with pytest.raises(lowp.InvalidArgument, match="batch 5; an epoch has 5"):
        Loader(numbers(10), 2, seed=1).restore(state | {"position": 5})
