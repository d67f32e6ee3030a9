"""The processes that train one model together: ``mpirun -n 2 lowp train RECIPE.toml``."""

from __future__ import annotations

import functools
import os
import pickle
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lowp import _core, errors

Array = np.ndarray[Any, Any]

# What MPI's launchers tell a process: its number of ranks, or only that it is one (PMIx, as Slurm's srun uses it).
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_LAUNCHED = (*_SIZES, "PMIX_RANK")


class Group:
    """The ranks, of which this process is one.

    Every rank calls the same methods in the same order.

    Attributes:
        rank: 0 to ranks - 1; rank 0 writes files and reports.
        ranks: how many there are; 1: this process is alone, and the methods give what they are given.
    """

    def __init__(self, rank: int = 0, ranks: int = 1) -> None:
        self.rank, self.ranks = rank, ranks

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def broadcast(self, value: Any = None, root: int = 0) -> Any:
        """What `root` has: anything that can be pickled. Others' values are ignored."""
        if self.ranks == 1:
            return value
        data = np.frombuffer(pickle.dumps(value), np.uint8).copy() if self.rank == root else np.empty(0, np.uint8)
        size = np.array([data.size], np.int64)
        _core.broadcast(size.view(np.uint8), root)
        if self.rank != root:
            data = np.empty(int(size[0]), np.uint8)
        _core.broadcast(data, root)
        return value if self.rank == root else pickle.loads(data.tobytes())

    def broadcast_into(self, array: Array, root: int = 0) -> None:
        """The array becomes root's, which has the same size and dtype."""
        if self.ranks > 1 and array.size:
            _core.broadcast(array.reshape(-1).view(np.uint8), root)

    def mean_into(self, array: Array) -> None:
        """The array (f32) becomes the mean of all ranks', added in the order of ranks."""
        if self.ranks > 1 and array.size:
            _core.mean_of_ranks(array.reshape(-1))

    def mean(self, value: float) -> float:
        """The mean of all ranks' numbers, in f32."""
        array = np.array([value], np.float32)
        self.mean_into(array)
        return float(array[0])

    def any(self, flag: bool) -> bool:
        """Whether some rank says so."""
        return self.mean(float(flag)) > 0

    def gather(self, value: Any) -> list[Any]:
        """What each rank has, in their order."""
        return [self.broadcast(value, r) for r in range(self.ranks)]

    def share_of_threads(self) -> int:
        """How many threads this rank may use, so that ranks on the same CPUs do not crowd each other.

        mpirun gives each of two ranks a core of its own, but many ranks all cores of a socket, or of the machine.
        """
        threads: int = _core.cpu()["threads"]
        if self.ranks == 1:
            return threads
        cpus = os.sched_getaffinity(0)
        others = self.gather((socket.gethostname(), cpus))
        neighbours = sum(host == socket.gethostname() and bool(cpus & theirs) for host, theirs in others)
        return max(1, threads // neighbours)

    def abort(self, status: int = 1) -> None:
        """Ends all ranks: what a rank does that cannot go on, as the others would wait for it."""
        if self.ranks > 1:
            _core.abort_ranks(status)


@dataclass(frozen=True)
class DataParallel:
    """How a trainer's gradients become the means of all ranks'.

    Attributes:
        group: see :func:`connect`.
        bucket_bytes: gradients are exchanged together until they have so many; see docs/data-parallel.md.
        compress: bf16 halves what is sent: each rank's gradients are rounded before they are added (in f32), and the
            mean is.
    """

    group: Group
    bucket_bytes: int = 4 << 20
    compress: Literal["none", "bf16"] = "none"

    def options(self) -> dict[str, Any]:
        """For the core."""
        return {"ranks": self.group.ranks, "bucket_bytes": self.bucket_bytes, "compress": self.compress}


@functools.cache
def connect() -> Group:
    """The group that this process was started in, by mpirun or its like; of one rank where it was not.

    Raises:
        Unsupported: it is one of several ranks, and lowp was built without MPI.
    """
    if not any(name in os.environ for name in _LAUNCHED):
        return Group()
    size = next((int(os.environ[n]) for n in _SIZES if n in os.environ), 0)
    if size == 1:
        return Group()
    library = Path(_core.__file__).with_name("liblowp_mpi.so")
    if not library.is_file():
        raise errors.Unsupported(
            f"this process was started as one of {size or 'several'} ranks, and lowp was built without MPI"
            " (install libopenmpi-dev and build lowp again)"
        )
    return Group(*_core.start_mpi(str(library)))


def disconnect() -> None:
    """Waits until all ranks are here, and leaves them: before a process of a group ends as it should."""
    if connect().ranks > 1:
        _core.close_communicator()
