"""Random numbers that are a function of (seed, purpose, counter), so that any of them can be made again.

Philox (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011) is a counter-based generator: a resumed
run, another rank and another machine get the same numbers without drawing those before. Only the generator's raw output
is used: numpy keeps that the same between versions, and not what Generator's methods make of it.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from lowp import errors

Array = np.ndarray[Any, Any]


def check_seed(seed: int) -> int:
    """The seed, where it fits the generator's key.

    Raises:
        InvalidArgument: negative, or past 2^64 - 1.
    """
    if not 0 <= seed < 1 << 64:
        raise errors.InvalidArgument(f"seed is {seed}; 0 to 2^64 - 1 is wanted")
    return seed


def raw(n: int, seed: int, purpose: str, counter: int = 0) -> Array:
    """uint64 [n]: uniform bits of this seed, purpose and counter."""
    key = np.array([check_seed(seed), zlib.crc32(purpose.encode())], np.uint64)
    # The generator counts up the first word: the counter stands in the last, where streams never meet.
    start = np.array([0, 0, 0, counter], np.uint64)
    return np.random.Philox(key=key, counter=start).random_raw(n)


def permutation(n: int, seed: int, purpose: str, counter: int = 0) -> Array:
    """int64 [n]: 0 to n-1 in random order."""
    return np.argsort(raw(n, seed, purpose, counter), kind="stable")


def integers(n: int, bound: int, seed: int, purpose: str, counter: int = 0) -> Array:
    """int64 [n]: each 0 to bound-1. The remainder's bias is under bound / 2^64."""
    return (raw(n, seed, purpose, counter) % np.uint64(bound)).astype(np.int64)
