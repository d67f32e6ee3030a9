"""Where a run's figures go: a progress bar, CSV, JSON lines, TensorBoard; and early stopping.

All logs take ``log(step, values)`` with figures by name. A resumed run gives `resume`, its checkpoint's step: what an
earlier process logged after that is taken out, since those steps are done again.

>>> with open_logs("run", csv=True, tensorboard=True, resume=0) as log:
...     log.log(10, {"loss": 0.7, "lr": 0.1})
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from lowp import errors
from lowp.train.schedules import improves
from lowp.zoo._fetch import write_atomically

PathLike = str | os.PathLike[str]


class Log(Protocol):
    """Takes figures as they come."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Figures by name, of a step counted from 0."""
        ...

    def close(self) -> None:
        """Writes what is left; nothing may be logged after it."""
        ...


class CsvLog:
    """A table: step, seconds since the log was opened, and a column a figure, empty where a row has none.

    A figure that appears later gets its column then. Every row is in the file once `log` returns.

    Raises:
        CorruptFile: an existing file is no such table.
        IoError: it cannot be written.
    """

    def __init__(self, path: PathLike, resume: int = 0) -> None:
        self._path = Path(path)
        self._names: list[str] = []
        self._rows: list[dict[str, str]] = []
        self._start = time.monotonic()
        with _io(self._path):
            if resume and self._path.exists():
                self._read(resume)
            self._rewrite()
            self._file = self._path.open("a", newline="", encoding="utf-8")

    def _read(self, resume: int) -> None:
        with self._path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not reader.fieldnames or list(reader.fieldnames[:2]) != ["step", "seconds"]:
                raise errors.CorruptFile(f"'{self._path}' is no log: its first line is {reader.fieldnames}")
            self._names = list(reader.fieldnames[2:])
            for row in reader:
                # A process that was killed may have left half a line.
                if row["step"].isdigit() and int(row["step"]) < resume and None not in row.values():
                    self._rows.append(row)
        if self._rows:
            self._start -= float(self._rows[-1]["seconds"])

    def _rewrite(self) -> None:
        def write(path: Path) -> None:
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, ["step", "seconds", *self._names], restval="")
                writer.writeheader()
                writer.writerows(self._rows)

        write_atomically(self._path, write)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a row."""
        row = {"step": str(step), "seconds": f"{time.monotonic() - self._start:.3f}"}
        row |= {name: repr(float(v)) for name, v in values.items()}
        self._rows.append(row)
        new = [name for name in values if name not in self._names]
        with _io(self._path):
            if new:
                self._names += new
                self._file.close()
                self._rewrite()
                self._file = self._path.open("a", newline="", encoding="utf-8")
            else:
                csv.DictWriter(self._file, ["step", "seconds", *self._names], restval="").writerow(row)
                self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class JsonLinesLog:
    """A JSON object a line: step, seconds, and the figures. What is not finite is null, as JSON has no word for it.

    Raises:
        IoError: the file cannot be written.
    """

    def __init__(self, path: PathLike, resume: int = 0) -> None:
        self._path = Path(path)
        self._start = time.monotonic()
        kept: list[str] = []
        with _io(self._path):
            if resume and self._path.exists():
                for line in self._path.read_text(encoding="utf-8").splitlines():
                    with contextlib.suppress(ValueError, KeyError, TypeError):
                        row = json.loads(line)
                        if row["step"] < resume:
                            kept.append(line)
                            self._start = time.monotonic() - row["seconds"]
            write_atomically(self._path, lambda p: p.write_text("".join(k + "\n" for k in kept), encoding="utf-8"))
            self._file = self._path.open("a", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a line."""
        row: dict[str, Any] = {"step": step, "seconds": round(time.monotonic() - self._start, 3)}
        row |= {name: float(v) if math.isfinite(v) else None for name, v in values.items()}
        with _io(self._path):
            self._file.write(json.dumps(row, allow_nan=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TensorBoardLog:
    """Event files in a folder, for ``tensorboard --logdir``.

    Raises:
        Unsupported: the package tensorboardX is not installed.
    """

    def __init__(self, folder: PathLike, resume: int = 0) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as e:
            raise errors.Unsupported("TensorBoard logs need the package tensorboardX: pip install lowp[train]") from e
        self._writer = SummaryWriter(str(folder), purge_step=resume or None, flush_secs=10)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a scalar a figure."""
        for name, value in values.items():
            self._writer.add_scalar(name, float(value), step)

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


class ProgressLog:
    """A bar on standard error with the latest figures; nothing where that is no terminal."""

    def __init__(self, steps: int | None, resume: int = 0, enabled: bool = True) -> None:
        self._bar: Any = None
        if not enabled or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[figures]}"), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("train", total=steps, completed=resume, figures="")
        self._bar.start()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Moves the bar to the step after this one."""
        if self._bar:
            figures = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            self._bar.update(self._task, completed=step + 1, figures=figures)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar:
            self._bar.stop()


class Logs:
    """Several logs as one; closes them all at the end of a ``with``."""

    def __init__(self, logs: Sequence[Log]) -> None:
        self._logs = list(logs)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """To each of them."""
        for log in self._logs:
            log.log(step, values)

    def close(self) -> None:
        """Closes each of them, also when one fails."""
        with contextlib.ExitStack() as stack:
            for log in self._logs:
                stack.callback(log.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_logs(
    folder: PathLike,
    *,
    console: bool = False,
    csv: bool = True,
    jsonl: bool = False,
    tensorboard: bool = False,
    steps: int | None = None,
    resume: int = 0,
) -> Logs:
    """The logs of a run: log.csv, log.jsonl and the folder tensorboard in `folder`, and a bar of `steps`.

    Args:
        resume: the step that comes next; 0 begins the files anew.
    """
    base = Path(folder)
    logs = Logs([])
    with contextlib.ExitStack() as stack:
        stack.callback(logs.close)
        for wanted, make in (
            (csv, lambda: CsvLog(base / "log.csv", resume)),
            (jsonl, lambda: JsonLinesLog(base / "log.jsonl", resume)),
            (tensorboard, lambda: TensorBoardLog(base / "tensorboard", resume)),
            (console, lambda: ProgressLog(steps, resume)),
        ):
            if wanted:
                logs._logs.append(make())
        stack.pop_all()
    return logs


class EarlyStopping:
    """Says when to stop: after `patience` evaluations in a row in which the metric did not improve.

    Args:
        patience: evaluations, at least 1.
        larger_is_better: whether the metric grows as the model improves.
        threshold: by which it has to beat the best one, relative to that.
    """

    def __init__(self, patience: int, larger_is_better: bool = False, threshold: float = 0.0) -> None:
        if patience < 1:
            raise errors.InvalidArgument(f"patience is {patience}; 1 or more is wanted")
        self._patience, self._larger, self._threshold = patience, larger_is_better, threshold
        self._best: float | None = None
        self._bad = 0

    @property
    def best(self) -> float | None:
        """The best metric so far."""
        return self._best

    def observe(self, metric: float) -> bool:
        """Takes in an evaluation's metric; True where it is time to stop. NaN improves nothing."""
        if improves(metric, self._best, self._larger, self._threshold):
            self._best, self._bad = metric, 0
        else:
            self._bad += 1
        return self._bad >= self._patience

    def state(self) -> dict[str, float | int | None]:
        """For a checkpoint."""
        return {"best": self._best, "bad": self._bad}

    def restore(self, state: Mapping[str, float | int | None]) -> None:
        """As it was when `state` was taken."""
        self._best, self._bad = state["best"], int(state["bad"] or 0)


@contextlib.contextmanager
def _io(path: Path) -> Any:
    try:
        yield
    except errors.Error:
        raise
    except OSError as e:
        raise errors.IoError(f"log '{path}' cannot be written: {e}") from e
